"""The lines of a log are in the order of printing, however fast commands are and whichever process dies."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from runner_host import BUSYBOX, IMAGE, TOKEN, execute, execution, keeper_process, take_up, until
from runner_server import Recorded, RunnerServer

from core.wire import MARK_BEGIN, MARK_END
from runner.clock import ServerClock
from runner.host import Host
from runner.logs import spool
from runner.logs.masking import Masker
from runner.logs.progress import CommandProgress
from runner.logs.shipper import LogSource, Shipper
from runner.server_client import Reporter

pytestmark = pytest.mark.docker


def run(server: RunnerServer, host: Host, *commands: str, image: str = BUSYBOX) -> Recorded:
    recorded = server.add(execution(*commands, image=image))
    execute(host, recorded.spec.uuid, 1)
    return recorded


def streams(recorded: Recorded) -> list[tuple[str, str]]:
    """Stream and line, in the order of their arrival, from the first command on."""
    pieces = [(stream, line) for _, stream, text in recorded.arrivals for line in text.decode().splitlines()]
    found = list(itertools.dropwhile(lambda piece: not piece[1].startswith("Command 1"), pieces))
    return [piece for piece in found if not piece[1].startswith(("Finished", "Uploaded"))]


def order(recorded: Recorded) -> list[str]:
    return [line for _, line in streams(recorded)]


@pytest.mark.parametrize("image", [BUSYBOX, IMAGE], ids=["busybox", "bash"])
def test_a_command_begins_in_the_log_behind_the_output_of_the_one_before_it(
    server: RunnerServer, host: Host, image: str
) -> None:
    commands = [f"echo out {number}; echo err {number} >&2" for number in range(1, 31)]
    recorded = run(server, host, *commands, image=image)
    found = order(recorded)
    for number in range(1, 31):
        place = found.index(f"Command {number} of 30: echo out {number}; echo err {number} >&2")
        assert sorted(found[place + 1 : place + 3]) == [f"err {number}", f"out {number}"]
    assert len(found) == 90


def test_the_end_of_a_failed_command_comes_behind_its_last_line(server: RunnerServer, host: Host) -> None:
    recorded = run(server, host, "echo a", "seq 1 2000; seq 1 2000 >&2; (exit 3)", "echo never")
    found = order(recorded)
    assert found[-1].startswith("Command 2 of 3 exited with 3")
    assert found.index("Command 2 of 3: seq 1 2000; seq 1 2000 >&2; (exit 3)") == 2
    assert recorded.lines("stdout") == ["a", *map(str, range(1, 2001))]
    assert recorded.lines("stderr") == [*map(str, range(1, 2001))]


def test_a_line_that_a_command_leaves_unfinished_ends_with_it(server: RunnerServer, host: Host) -> None:
    recorded = run(server, host, "printf no-newline", "echo next")
    assert streams(recorded)[1:] == [
        ("stdout", "no-newline"), ("status", "Command 2 of 2: echo next"), ("stdout", "next"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "first",
    [
        "exec >/valohai/outputs/out 2>&1",
        "unset pushmill_commands",
        "cd /; set -C",
    ],
)
def test_whatever_a_command_does_to_its_shell_the_next_ones_are_run_and_nothing_of_ours_is_printed(
    server: RunnerServer, host: Host, first: str
) -> None:
    recorded = run(server, host, first, "echo two", "echo three")
    assert recorded.final["state"] == "complete"
    assert set(recorded.lines("stdout")) <= {"two", "three"}
    assert recorded.lines("stderr") == []


def test_bytes_that_look_like_our_marks_are_kept_as_they_are(server: RunnerServer, host: Host) -> None:
    mark = "\\002pushmill start 9\\003\\n"
    recorded = run(server, host, f"printf 'a\\n{mark}b\\n\\002'", "echo c", f"printf '{mark}\\002pushmill '")
    lines = recorded.lines("stdout")
    assert lines == ["a", "\x02pushmill start 9\x03", "b", "\x02", "c", "\x02pushmill start 9\x03", "\x02pushmill "]


def test_marks_that_a_program_forges_cost_at_most_their_own_bytes(server: RunnerServer, host: Host) -> None:
    forge = "echo 'start 2' >>/pushmill/commands; printf '\\002pushmill start 2\\003\\n'"
    recorded = run(server, host, f"echo a; {forge}; echo b", "echo c")
    assert recorded.lines("stdout") == ["a", "b", "\x02pushmill start 2\x03", "c"]
    assert recorded.final["state"] == "complete"


def test_a_program_that_floods_the_log_in_the_background_does_not_delay_what_is_said(
    server: RunnerServer, tmp_path: Path
) -> None:
    """The mark is in the part that is left out, and there is never a moment without unread output."""
    spec = execution("flood &", "echo two", log_bytes=100_000)
    recorded = server.add(spec)
    recorded.claimed = True
    flood, spool_dir = (b"y" * 1023 + b"\n") * 2048, tmp_path / "spool"
    spool.make(spool_dir, spec.script, {})
    (spool_dir / "commands").write_bytes(b"start 1\nstart 2\n")
    (spool_dir / "stdout").write_bytes(flood + f"{MARK_BEGIN}start 2{MARK_END}".encode() + flood)

    def print_more(path: str) -> None:
        if path.endswith("/log"):
            with (spool_dir / "stdout").open("ab") as stdout:
                stdout.write(flood)

    masker, reporter, clock = Masker([]), Reporter(server.url, TOKEN), ServerClock()
    clock.note(0, 0, 0)  # otherwise every batch waits for the server's time
    progress, status = CommandProgress(spool_dir, spec.commands), spool.StatusWriter(spool_dir, masker)
    source = LogSource(spool=spool_dir, progress=progress, status=status, masker=masker, clock=clock)
    shipper = Shipper(source, reporter, spec, {})
    server.before = print_more
    shipper.start()
    try:
        until(lambda: "Command 2 of 2: echo two" in recorded.lines("status"))
    finally:
        server.before = lambda path: None
        shipper.close()
        progress.close()
        status.close()
        reporter.close()
    assert shipper.error is None


def test_after_the_death_of_its_keeper_the_order_goes_on(server: RunnerServer, host: Host) -> None:
    wait = "while [ ! -e /valohai/outputs/go ]; do sleep 0.05; done"
    commands = ["echo one", f"echo two; {wait}; echo still two", "echo three", "(exit 4)"]
    recorded = server.add(execution(*commands, image=BUSYBOX))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: "two" in recorded.lines("stdout"))
    (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
    take_up(host)
    found = [line for line in order(recorded) if "resumed it" not in line]
    assert found[:3] == ["Command 1 of 4: echo one", "one", f"Command 2 of 4: echo two; {wait}; echo still two"]
    assert found[3:8] == [
        "two", "still two", "Command 3 of 4: echo three", "three", "Command 4 of 4: (exit 4)",
    ]  # fmt: skip
    assert found[8:] == ["Command 4 of 4 exited with 4: `(exit 4)`"]
