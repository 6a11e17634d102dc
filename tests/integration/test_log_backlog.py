"""A log with a backlog: the shipper reads the next batch while the server stores the previous one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runner_host import TOKEN, execution
from runner_server import Recorded, RunnerServer

from runner.clock import ServerClock
from runner.logs import spool
from runner.logs.masking import Masker
from runner.logs.progress import CommandProgress
from runner.logs.shipper import LogSource, Shipper
from runner.server_client import Reporter

LINES = 240_000
TEXT = b"".join(b"%099d\n" % number for number in range(LINES))
SECRET = b"a secret of 21 letters"


@contextmanager
def backlog(server: RunnerServer, spool_dir: Path, text: bytes) -> Iterator[tuple[Recorded, Shipper]]:
    """A shipper that has not started, and all of the output."""
    spec = execution("print")
    recorded = server.add(spec)
    recorded.claimed = True
    spool.make(spool_dir, spec.script, {})
    (spool_dir / "stdout").write_bytes(text)
    masker, clock = Masker([SECRET.decode()]), ServerClock()
    clock.note(0, 0, 0)  # otherwise every batch waits for the server's time
    reporter = Reporter(server.url, TOKEN, masker=masker)
    progress, status = CommandProgress(spool_dir, spec.commands), spool.StatusWriter(spool_dir, masker)
    shipper = Shipper(
        LogSource(spool=spool_dir, progress=progress, status=status, masker=masker, clock=clock), reporter, spec, {}
    )
    try:
        yield recorded, shipper
    finally:
        shipper.close()
        progress.close()
        status.close()
        reporter.close()


def at_batch(number: int, action: Callable[[], None]) -> Callable[[str], None]:
    """Call `action` when the batch of this number has arrived, before it is stored."""
    left = number

    def before(path: str) -> None:
        nonlocal left
        if path.endswith("/log"):
            left -= 1
            if left == 0:
                action()

    return before


def test_every_line_arrives_once_and_in_order_and_is_masked(server: RunnerServer, tmp_path: Path) -> None:
    text = b"".join(b"%077d%s\n" % (number, SECRET) for number in range(LINES))
    with backlog(server, tmp_path / "spool", text) as (recorded, shipper):
        shipper.start()
        shipper.drain()
    assert shipper.error is None
    assert len(recorded.batches) >= 4
    assert recorded.text() == text.replace(SECRET, b"***")


def test_after_a_late_batch_of_another_process_the_log_continues_behind_it(
    server: RunnerServer, tmp_path: Path
) -> None:
    def late() -> None:
        """A killed predecessor has sent more than is known here."""
        have = recorded.acknowledged["stdout"]
        recorded.acknowledged["stdout"] = have + 1000
        recorded.pieces["stdout"].append(TEXT[have : have + 1000])

    server.before = at_batch(3, late)
    with backlog(server, tmp_path / "spool", TEXT) as (recorded, shipper):
        shipper.start()
        shipper.drain()
    assert shipper.error is None
    assert recorded.text() == TEXT


def test_a_lost_lease_ends_the_shipping_of_a_backlog(server: RunnerServer, tmp_path: Path) -> None:
    def give_away() -> None:
        recorded.given_away = True

    server.before = at_batch(2, give_away)
    with backlog(server, tmp_path / "spool", TEXT) as (recorded, shipper):
        shipper.start()
        shipper.drain()
    assert shipper.error is None
    assert len(recorded.batches) == 1


def test_a_batch_that_the_server_refuses_is_an_error_of_the_log(server: RunnerServer, tmp_path: Path) -> None:
    server.before = lambda path: 400 if path.endswith("/log") else None
    with backlog(server, tmp_path / "spool", TEXT) as (recorded, shipper):
        shipper.start()
        shipper.drain()
    assert shipper.error is not None
    assert recorded.text() == b""
