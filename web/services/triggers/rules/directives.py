"""Parse a pusher's directives: push options, and trailers in the last paragraph of the head commit's message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from core.model import EventKind, PushEvent, Target, TargetKind
from hooks.forges.payload import MAX_OPTIONS, OPTION_CHARS

SKIP_OPTION = "ci.skip"
SKIP_MARK = re.compile(r"\[\s*(?:(?:skip|no)[ -]ci|ci[ -]skip|skip[ -]pushmill|pushmill[ -]skip)\s*\]", re.IGNORECASE)
ABOUT = "|".join((*TargetKind, "parameter", "environment"))
OPTION = re.compile(rf"pushmill\.({ABOUT})=(.*)", re.DOTALL)
TRAILER = re.compile(rf"pushmill-({ABOUT}):\s*(.*\S)\s*", re.IGNORECASE)
OURS = re.compile(r"pushmill\.[^=]*")
OUR_TRAILER = re.compile(r"(pushmill-[a-z-]+):.*", re.IGNORECASE)
KNOWN = ", ".join((*TargetKind, "parameter", "environment"))
MAX_WISHES = 200


@dataclass(frozen=True, kw_only=True)
class Directives:
    """Parsed directives. `parameters` has all values given for a name, in order. `unclear` are those not understood."""

    targets: tuple[Target, ...] = ()
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environment: str = ""
    unclear: tuple[tuple[str, str], ...] = ()


def find_skip_reason(event: PushEvent, message: str) -> str | None:
    """Return the push option or text in the head commit's message that asks to run nothing; None without one.

    A schedule has no pusher.
    """
    if event.kind is EventKind.SCHEDULE:
        return None
    if SKIP_OPTION in event.options:
        return f"-o {SKIP_OPTION}"
    found = SKIP_MARK.search(message)
    return f"{found.group()} in the commit message" if found else None


def parse_directives(event: PushEvent, message: str) -> Directives:
    """Parse the directives of an event. Options override trailers of the same kind.

    Trailers are ignored for tags and schedules, since they applied when the branch was pushed.
    """
    read = [text for text in event.options[:MAX_OPTIONS] if len(text) <= OPTION_CHARS]
    options = _gathered(found.groups() for text in read if (found := OPTION.fullmatch(text)))
    tag = event.ref.startswith("refs/tags/")
    lines = [] if tag or event.kind is EventKind.SCHEDULE else _last_lines(message)
    trailers = _gathered(found.groups() for line in lines if (found := TRAILER.fullmatch(line)))
    return Directives(
        targets=options.targets or trailers.targets,
        parameters={**trailers.parameters, **options.parameters},
        environment=options.environment or trailers.environment,
        unclear=(*_over_limits(event.options), *options.unclear, *trailers.unclear, *_unknown(read, lines)),
    )


def _over_limits(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in options[:MAX_OPTIONS]:
        if len(text) > OPTION_CHARS:
            yield f"push option {text[:80]}", f"it has more than {OPTION_CHARS:,} characters, so it is ignored"
    if len(options) > MAX_OPTIONS:
        yield "push options", f"only the first {MAX_OPTIONS} of a push are read"


def _gathered(found: Iterable[tuple[str, ...]]) -> Directives:
    targets: list[Target] = []
    parameters: dict[str, tuple[str, ...]] = {}
    environment, unclear = "", []
    for kind, value in list(found)[:MAX_WISHES]:
        kind, value = kind.lower(), value.strip()
        name, equals, given = value.partition("=")
        if kind in set(TargetKind):
            targets.append(Target(kind=TargetKind(kind), name=value))
        elif kind == "environment":
            environment = value
        elif equals and name.strip():
            parameters[name.strip()] = (*parameters.get(name.strip(), ()), given.strip())
        else:
            unclear.append((f"parameter {value[:80]}", "NAME=VALUE is expected"))
    return Directives(targets=tuple(targets), parameters=parameters, environment=environment, unclear=tuple(unclear))


def _unknown(options: Iterable[str], lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield options and trailers with the prefix of pushmill but an unknown name."""
    for option in options:
        if (found := OURS.match(option)) and not OPTION.fullmatch(option):
            yield found.group()[:80], f"unknown option; expected pushmill.NAME=VALUE with NAME one of {KNOWN}"
    for line in lines:
        if (found := OUR_TRAILER.fullmatch(line)) and not TRAILER.fullmatch(line):
            yield found.group(1)[:80], f"unknown trailer; expected Pushmill-NAME: VALUE with NAME one of {KNOWN}"


def _last_lines(message: str) -> Sequence[str]:
    """Return the lines of the last paragraph of a message, which may contain trailers, unless it is the subject."""
    paragraphs = re.split(r"\n\s*\n", message.strip())
    return [line.strip() for line in paragraphs[-1].split("\n")] if len(paragraphs) > 1 else []
