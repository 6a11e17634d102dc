from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from web.processes import child_process
from web.processes.child_process import Child


def child(tmp_path: Path, program: str) -> Child:
    argv = [sys.executable, "-P", "-c", program]
    return Child("it", lambda: os.execv(argv[0], argv), log=tmp_path / "it.log", pid_file=tmp_path / "it.pid")


def await_(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_death_is_told_with_the_last_line_and_followed_by_another_life(tmp_path: Path) -> None:
    it = child(tmp_path, "import sys; print('first words'); sys.exit('last words')")
    it.start()
    first = it.pid
    await_(lambda: it.exit_code() is not None)
    told = it.tend()
    assert told == f"it ended with exit code 1: last words (log: {tmp_path}/it.log); it starts again in 0.5 s"
    await_(lambda: it.tend() is None and it.pid not in (None, first))
    it.stop(1)


def test_a_process_that_keeps_dying_is_started_more_and_more_slowly(tmp_path: Path) -> None:
    it = child(tmp_path, "")
    pauses = []
    for _ in range(3):
        it.start()
        await_(lambda: it.exit_code() is not None)
        pauses.append((it.tend() or "").rpartition(" in ")[2])
    assert pauses == ["0.5 s", "1 s", "2 s"]


def test_a_signal_is_told_by_its_name(tmp_path: Path) -> None:
    it = child(tmp_path, "import os; os.kill(os.getpid(), 9)")
    it.start()
    await_(lambda: it.exit_code() is not None)
    assert "SIGKILL" in it.exit_text()


def test_one_that_ignores_sigterm_is_killed_with_all_it_started(tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, time; signal.signal(15, signal.SIG_IGN);"
        "print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    )
    it = child(tmp_path, program)
    it.start()
    await_(lambda: it.log.exists() and it.log.read_text().endswith("\n"))
    grandchild = int(it.log.read_text())
    it.stop(0.1)
    assert it.pid is None
    assert child_process.wait_until_gone(grandchild, 5)
    assert not (tmp_path / "it.pid").exists()


def test_signals_reach_a_child_though_they_were_held_back_while_it_was_started(tmp_path: Path) -> None:
    it = child(tmp_path, "import time; print(flush=True); time.sleep(600)")
    it.start()
    await_(lambda: it.log.exists() and it.log.read_text())
    os.kill(it.pid or 0, signal.SIGTERM)
    await_(lambda: it.exit_code() == -signal.SIGTERM)


def test_a_leftover_is_ended_but_not_a_stranger_with_its_number(tmp_path: Path) -> None:
    it = child(tmp_path, "import time; time.sleep(600)")
    it.start()
    pid = it.pid or 0
    await_(lambda: (tmp_path / "it.pid").exists() and (tmp_path / "it.pid").read_text())  # it writes the file itself
    (tmp_path / "it.pid").write_text(f"{pid} 1")
    child_process.end_leftover(tmp_path / "it.pid")
    assert child_process.is_running(pid)
    (tmp_path / "it.pid").write_text(f"{pid} {child_process.read_begin_time(pid)}")
    child_process.end_leftover(tmp_path / "it.pid")
    await_(lambda: it.exit_code() == -signal.SIGTERM)
    for nonsense in ("", "x y", "1", f"{2**40} 5"):
        (tmp_path / "it.pid").write_text(nonsense)
        child_process.end_leftover(tmp_path / "it.pid")


def test_a_log_is_bounded_and_writing_to_it_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    with log.open("ab") as output, subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=output) as cat:
        assert cat.stdin is not None
        cat.stdin.write(b"x" * 1000)
        cat.stdin.flush()
        await_(lambda: log.stat().st_size == 1000)
        child_process.rotate_log(log, limit=999)
        cat.stdin.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    assert log.with_name("it.log.1").read_bytes() == b"x" * 1000
