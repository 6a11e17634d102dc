"""Which steps a push runs."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInput, NotFound
from core.model import PushEvent
from core.steps.model import step_names
from core.steps.resolve import ResolvedStep, UnresolvedStep, resolve

SKIP_OPTION = "ci.skip"
STEP_OPTION = "pushmill.step="
SKIP_MARK = re.compile(r"\[\s*(?:(?:skip|no)[ -]ci|ci[ -]skip|skip[ -]pushmill|pushmill[ -]skip)\s*\]", re.IGNORECASE)
STEP_TRAILER = re.compile(r"pushmill-step:\s*(.*\S)\s*", re.IGNORECASE)
MAX_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`run` are resolved steps in the order they are launched in; `skipped` are (step, reason) pairs."""

    run: tuple[ResolvedStep, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


def skip_reason(event: PushEvent, message: str) -> str | None:
    """Why the pusher wants nothing to run, by a push option or in the head commit's message; None without such a wish."""
    if SKIP_OPTION in event.options:
        return f"-o {SKIP_OPTION}"
    found = SKIP_MARK.search(message)
    return f"{found.group()} in the commit message" if found else None


def choose(config: Any, event: PushEvent, message: str, provided: Container[str] = ()) -> Choice:
    """The steps of a stored configuration that a push of `message` runs, in a project that has the variables `provided`.

    Those that push options name, else those that the message's trailers name, else all of them; but a tag runs nothing but
    what options name. A step that cannot run, or that there is not, is skipped with the reason.
    """
    named = _named_by_options(event.options)
    if not named and not event.ref.startswith("refs/tags/"):
        named = _named_by_trailers(message) or step_names(config)
    run, skipped = [], []
    for name in dict.fromkeys(named[:MAX_STEPS]):
        try:
            run.append(resolve(config, name, provided=provided))
        except UnresolvedStep as error:
            skipped.append((name, "; ".join(error.problems)))
        except (NotFound, InvalidInput) as error:
            skipped.append((name, str(error)))
    return Choice(run=tuple(run), skipped=tuple(skipped))


def _named_by_options(options: Sequence[str]) -> Sequence[str]:
    return [option.removeprefix(STEP_OPTION).strip() for option in options if option.startswith(STEP_OPTION)]


def _named_by_trailers(message: str) -> Sequence[str]:
    """Trailers stand in the last paragraph of a message, which is not its subject."""
    paragraphs = re.split(r"\n\s*\n", message.strip())
    last = paragraphs[-1].split("\n") if len(paragraphs) > 1 else []
    return [found.group(1) for line in last if (found := STEP_TRAILER.fullmatch(line.strip()))]
