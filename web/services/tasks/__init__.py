"""Tasks: reconciled by the sweep, stopped by users."""

from __future__ import annotations

from web.services.tasks.reconcile import advance
from web.services.tasks.requests import request_stop

__all__ = ["advance", "request_stop"]
