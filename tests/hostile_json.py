"""Unexpected JSON for hypothesis: values of any kind, and payloads with such values in any place."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

LIKELY = ("a" * 40, "0" * 40, "refs/heads/x", "tag", "opened", "2026-11-25T12:00:00Z")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(LIKELY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(payload: Any) -> list[tuple[Any, Any]]:
    """Return each container in a payload with each of its keys."""
    if isinstance(payload, dict):
        return [(payload, key) for key in payload] + [place for value in payload.values() for place in places(value)]
    if isinstance(payload, list):
        return [(payload, at) for at in range(len(payload))] + [place for value in payload for place in places(value)]
    return []


def spoil(data: st.DataObject, payload: Any) -> None:
    """Replace one to three values of a payload by anything, or remove them."""
    for _ in range(data.draw(st.integers(1, 3))):
        found = places(payload)
        if not found:
            return
        container, key = data.draw(st.sampled_from(found))
        if data.draw(st.booleans()):
            container[key] = data.draw(VALUES)
        else:
            del container[key]
