"""Join the commands of a step into one shell script that stops at the first failure and reports it.

Items stay in one shell, so that `cd`, `export` and `source` carry over, and are separated by newlines, since an item
may end in `&`. Between two items is one line. It appends `exit N CODE` or `start N+1` to the file named by the shell
variable `pushmill_commands`, and then writes the same between MARK_BEGIN and MARK_END into the pipes of both streams,
where it shows up to which byte the item printed. Without the file no mark is written; neither changes what the items
do.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from core.wire import MARK_BEGIN, MARK_END
from web.config.steps.shell_text import stands_alone

__all__ = ["COMMANDS_FILE", "build_script", "stands_alone"]

COMMANDS_FILE = "/pushmill/commands"
PIPES = ("/pushmill/pipe.stdout", "/pushmill/pipe.stderr")
SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
STOP_TRAP = "trap 'exit 143' TERM"  # otherwise a stop ends the running program and the next command starts


def build_script(commands: Sequence[str]) -> str:
    """Return the script for the commands, numbered from 1; blank ones are omitted.

    A first line `#!...` stays first; an interpreter that is not a shell gets the text unchanged. If an item is not
    complete in itself, no line can be put between items: then `set -e` stops at the first failure and nothing is
    reported.
    """
    shebang, items = _split(commands)
    if shebang and not _is_shell(shebang):
        lines = [text for _, text in items]
    elif all(stands_alone(text) for _, text in items):
        lines = _checked(items)
    else:
        lines = [f"{STOP_TRAP}; set -e", *(text for _, text in items)]
    return "\n".join([*([shebang] if shebang else []), *lines]) + "\n"


def _split(commands: Sequence[str]) -> tuple[str, list[tuple[int, str]]]:
    """Return the `#!` line or "", and the non-blank commands with their numbers."""
    shebang = ""
    items = list(commands)
    if items and items[0].startswith("#!"):
        shebang, _, items[0] = items[0].partition("\n")
    return shebang, [(number, text) for number, text in enumerate(items, start=1) if text.strip()]


def _is_shell(shebang: str) -> bool:
    try:
        words = shlex.split(shebang.removeprefix("#!"))
    except ValueError:
        return False
    if words and PurePosixPath(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return bool(words) and PurePosixPath(words[0]).name in SHELLS


def _checked(items: list[tuple[int, str]]) -> list[str]:
    lines = [f"{STOP_TRAP}; pushmill_commands={COMMANDS_FILE}{_first(items)}"]
    following = [number for number, _ in items[1:]] + [None]
    for (number, text), then in zip(items, following, strict=True):
        lines += [text, _check(number, then)]
    return lines


def _first(items: list[tuple[int, str]]) -> str:
    return f"; {{ echo 'start {items[0][0]}' >>\"$pushmill_commands\"; }} 2>/dev/null || :" if items else ""


def _check(number: int, then: int | None) -> str:
    """Return the line after an item.

    The redirection of the group also hides it from `set -x`; `exit` is outside, so that the user's EXIT trap keeps its
    stderr; `||` keeps `set -e` and ERR traps out of it. `1<>` opens a pipe without waiting for a reader.
    """
    mark = f'echo "{MARK_BEGIN}$pushmill_event{MARK_END.strip()}"'
    write = '{ echo "$pushmill_event"; } >>"${pushmill_commands-/dev/null/none}"'
    write += "".join(f" && {{ {mark}; }} 1<>{pipe}" for pipe in PIPES) + ";"
    failed = f'pushmill_event="exit {number} $pushmill_code"'
    if then is not None:
        succeeded = f"pushmill_event='start {then}'"
        report = f'if [ "$pushmill_code" = 0 ]; then {succeeded}; else {failed}; fi; {write}'
    else:
        report = f'[ "$pushmill_code" = 0 ] || {{ {failed}; {write} }};'
    return f'{{ pushmill_code=$?; {report} [ "$pushmill_code" = 0 ]; }} 2>/dev/null || exit "$pushmill_code"'
