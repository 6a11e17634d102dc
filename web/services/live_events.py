"""Wake live pages when something changes. Works within one process only; followers also poll occasionally."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str | None], None]


class Changes:
    """A publisher of changes to its subscribers."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` on each change with the UUID of the changed execution, or None if it may be any."""
        self._listeners += (listener,)

    def publish(self, execution: str | None = None) -> None:
        for listener in self._listeners:
            listener(execution)
