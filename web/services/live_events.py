"""Wakes live pages when something changed. Within one process only; followers also look by themselves now and then."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str | None], None]


class Changes:
    """Those who want to be told of each change."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` on each change, with the UUID of the execution that changed; None when it may be any."""
        self._listeners += (listener,)

    def publish(self, execution: str | None = None) -> None:
        for listener in self._listeners:
            listener(execution)
