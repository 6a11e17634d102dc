"""The commands of a log, from its status lines: where each begins and ends, how it ended, which are folded."""

from __future__ import annotations

import pytest

from web.services.presentation.log_commands import Command, choose_folded_commands, parse_commands
from web.store.logs import LogLine


def status(*texts: tuple[int, str]) -> list[LogLine]:
    """Lines by number, each printed as many seconds after the start."""
    return [LogLine(number, number * 1_000_000, "status", text.encode()) for number, text in texts]


def shown(found: list[Command]) -> list[tuple[int, int, int | None, float | None, int | None]]:
    return [(one.number, one.first, one.end, one.seconds, one.code) for one in found]


BEGIN = ((0, "Execution created"), (1, "Preparing commit abc on image x"), (2, "Command 1 of 2: pip install"))


@pytest.mark.parametrize(("more", "expected"), [
    ((), [(1, 2, None, None, None)]),
    (((9, "Command 2 of 2: python train.py"),), [(1, 2, 9, 7, 0), (2, 9, None, None, None)]),
    (((9, "Command 1 of 2 exited with 3: `pip install`"), (10, "Finished in 9 s: error, command_failed: x")),
     [(1, 2, 10, 7, 3)]),
    (((9, "Command 2 of 2: cat"), (20, "Uploaded 1 output, 3 B"), (21, "Finished in 20 s: complete")),
     [(1, 2, 9, 7, 0), (2, 9, 20, 11, 0)]),
    (((5, "Stop requested by ada"), (6, "Finished in 6 s: stopped")), [(1, 2, 6, 4, None)]),
])  # fmt: skip
def test_a_command_lasts_until_the_next_line_about_commands(
    more: tuple[tuple[int, str], ...], expected: list[tuple[int, int, int | None, float | None, int | None]]
) -> None:
    assert shown(parse_commands(status(*BEGIN, *more))) == expected


def test_commands_that_succeeded_are_folded_but_for_the_last_and_the_one_asked_for() -> None:
    texts = [(10 * number, f"Command {number} of 4: true") for number in range(1, 4)]
    failed = (15, "Command 1 of 4 exited with 2: `true`")
    assert choose_folded_commands(parse_commands(status(texts[0], failed, *texts[1:]))) == {2}
    found = parse_commands(status(*texts, (40, "Command 4 of 4: false"), (49, "Command 4 of 4 exited with 1: `false`")))
    assert choose_folded_commands(found) == {1, 2, 3}
    assert choose_folded_commands(found, line=25) == {1, 3}
    assert choose_folded_commands(found, line=20) == {1, 2, 3}  # its first line is shown anyway
