"""Tasks: begun with a plan, moved on by the sweep, stopped by people."""

from __future__ import annotations

from web.services.tasks.reconcile import advance
from web.services.tasks.requests import request_stop, start

__all__ = ["advance", "request_stop", "start"]
