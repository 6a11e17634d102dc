"""The forges by the name that stands in the webhook's URL."""

from __future__ import annotations

from collections.abc import Mapping

from hooks.forges import github, plain
from hooks.forges.base import Forge

FORGES: Mapping[str, Forge] = {"github": github, "plain": plain}
