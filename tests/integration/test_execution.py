"""One execution in Docker, from the claim to the final report."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from runner_host import (
    BUSYBOX,
    COMMIT,
    IMAGE,
    NETWORK,
    docker,
    empty_image,
    execute,
    executing,
    execution,
    keeper_process,
    runner_host,
    take_up,
    until,
)
from runner_server import Recorded, RunnerServer

from core.config import Memory
from core.wire import ExecutionSpec
from runner.host import Host

pytestmark = pytest.mark.docker


def run(server: RunnerServer, host: Host, spec: ExecutionSpec) -> Recorded:
    recorded = server.add(spec)
    execute(host, spec.uuid, spec.attempt)
    return recorded


def test_lines_of_every_stream_are_stored_in_order_before_the_final_state(server: RunnerServer, host: Host) -> None:
    recorded = run(server, host, execution("for i in 1 2 3; do echo out $i; echo err $i >&2; done", "cat train.py"))
    assert recorded.final["state"] == "complete"
    assert recorded.lines("stdout") == ["out 1", "out 2", "out 3", "print('trained')"]
    assert recorded.lines("stderr") == ["err 1", "err 2", "err 3"]
    status = recorded.lines("status")
    assert status[1] == "Command 2 of 2: cat train.py"
    assert status[-1].startswith("Finished in ")
    assert status[-1].endswith(" s: complete")
    assert set(recorded.container["stage_s"]) == {"pull", "checkout", "inputs"}
    assert recorded.final["upload_s"] >= 0


def test_nothing_of_an_execution_is_left_on_the_machine(server: RunnerServer, host: Host) -> None:
    recorded = run(server, host, execution("touch made-by-the-step; rm train.py; mkdir /valohai/outputs/d"))
    assert recorded.final["state"] == "complete"
    assert list(host.executions.iterdir()) == []
    assert host.engine.managed(host.runner_id) == []
    volumes = docker("volume", "ls", "--quiet", "--filter", f"label=pushmill.runner={host.runner_id}")
    assert volumes == ""
    assert [path.name for path in (host.cache / "trees" / "demo" / COMMIT).iterdir()] == ["train.py"]


def test_a_failing_command_ends_the_execution_and_is_named(server: RunnerServer, host: Host) -> None:
    recorded = run(server, host, execution("echo first", "sh -c 'exit 3'", "echo never"))
    expected = {
        "attempt": 1,
        "state": "error",
        "failure_reason": "command_failed",
        "message": "Command 2 of 3 exited with 3: `sh -c 'exit 3'`",
        "exit_code": 3,
    }
    assert recorded.final | expected == recorded.final
    assert recorded.lines() == ["first"]
    assert recorded.final["message"] in recorded.lines("status")


@pytest.mark.parametrize(
    ("command", "stdout", "stderr"),
    [
        ("echo a; echo b >/dev/stderr; echo c >/dev/stderr; echo d >/dev/stdout", b"a\nd\n", b"b\nc\n"),
        ("echo a | tee /dev/stderr; echo b | tee /dev/stderr", b"a\nb\n", b"a\nb\n"),
        ("echo a; exec >/tmp/file; echo b; cat /tmp/file >&2", b"a\n", b"b\n"),
        (r"printf ' 10%%\r 50%%\r100%%\n'; printf 'dos\r\n'", b"100%\ndos\n", b""),
        ("printf 'no end'", b"no end\n", b""),
        (r"printf '\377\376 \303\n'", b"\xff\xfe \xc3\n", b""),
        ("""python3 -c "print('x' * 1048576)" """, b"x" * 1048576 + b"\n", b""),
        ("cat; echo read", b"read\n", b""),
        ("(trap '' TERM; sleep 100) & echo a", b"a\n", b""),
        (
            "(exec 2>/dev/null; trap 'echo bye; exit' TERM; while :; do sleep 0.1; done) & sleep 0.3; echo a",
            b"a\nbye\n",
            b"",
        ),
    ],
    ids=[
        "streams-by-name",
        "tee",
        "exec",
        "progress-bar",
        "no-newline",
        "not-utf8",
        "one-mebibyte",
        "stdin",
        "child-that-stays",
        "child-that-says-goodbye",
    ],
)
def test_what_a_program_prints_is_what_is_stored(
    server: RunnerServer, host: Host, command: str, stdout: bytes, stderr: bytes
) -> None:
    recorded = run(server, host, execution(command))
    assert (recorded.text("stdout"), recorded.text("stderr")) == (stdout, stderr)
    assert recorded.final["state"] == "complete"


WAIT = "while [ ! -e /valohai/outputs/go ]; do sleep 0.05; done"


def test_lines_are_stored_while_the_program_still_runs(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution(f"echo now; {WAIT}"))
    with executing(host, recorded.spec):
        until(lambda: recorded.lines() == ["now"])
        (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
    assert recorded.final["state"] == "complete"


def test_an_unfinished_line_is_shown_while_it_waits_and_stored_whole(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution(f"""printf '{{"a":'; {WAIT}; echo ' 1}}'; echo b; printf c"""))
    with executing(host, recorded.spec):
        until(lambda: recorded.previews == [("stdout", '{"a":')])
        assert recorded.lines() == []
        (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
    assert recorded.lines() == ['{"a": 1}', "b", "c"]


def test_a_progress_bar_is_shown_as_it_is_now(server: RunnerServer, host: Host) -> None:
    wait = WAIT.replace("go ]", "go$i ]")
    bar = f'for i in 1 2 3; do printf "\\r$i%%"; {wait}; done; echo; echo end'
    recorded = server.add(execution(bar))
    with executing(host, recorded.spec):
        for number in (1, 2, 3):
            until(lambda number=number: ("stdout", f"{number}%") in recorded.previews)
            (host.executions / recorded.spec.uuid / "outputs" / f"go{number}").touch()
    assert recorded.lines() == ["3%", "end"]


def test_an_unfinished_line_shows_no_part_of_a_secret(server: RunnerServer, host: Host) -> None:
    command = f"printf 'password: hun'; {WAIT}; echo ter22"
    recorded = server.add(execution(command, environment_variables={"A": "hunter22"}, secrets=["A"]))
    with executing(host, recorded.spec):
        until(lambda: recorded.previews)
        (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
    assert recorded.previews == [("stdout", "password: ")]
    assert recorded.lines() == ["password: ***"]


def test_a_keeper_that_dies_in_the_middle_of_a_line_costs_nothing_of_it(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution(f"echo first; printf half; {WAIT}; echo ' and half'"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: ("stdout", "half") in recorded.previews)
    (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
    take_up(host)
    assert recorded.lines() == ["first", "half and half"]


def test_a_server_that_knows_no_previews_gets_the_line_all_the_same(server: RunnerServer, host: Host) -> None:
    asked: list[str] = []
    server.before = lambda path: asked.append(path) or 404 if path.endswith("/preview") else None
    recorded = server.add(execution(f"printf half; {WAIT}; echo ' and half'"))
    with executing(host, recorded.spec):
        until(lambda: asked)
        (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
    assert recorded.lines() == ["half and half"]


def test_a_million_lines_arrive_complete(server: RunnerServer, host: Host) -> None:
    recorded = run(server, host, execution("python3 -c 'for i in range(1000000): print(i)'"))
    assert recorded.text() == b"".join(b"%d\n" % i for i in range(1_000_000))


def test_a_server_that_is_away_for_a_while_loses_nothing(server: RunnerServer, host: Host) -> None:
    answers = iter([503] * 5)
    server.before = lambda path: next(answers, None) if path.endswith("/log") else None
    recorded = run(server, host, execution("seq 1000"))
    assert recorded.lines() == [str(i) for i in range(1, 1001)]
    assert recorded.final["state"] == "complete"


def test_the_log_goes_on_where_the_server_says_it_ends(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo new", attempt=2))
    recorded.attempt = 2
    recorded.acknowledged |= {"stdout": 5000, "status": 70}
    execute(host, recorded.spec.uuid, 2)
    assert recorded.lines() == ["new"]
    assert recorded.batches[-1].start >= 70
    assert recorded.final["state"] == "complete"


def test_a_lease_that_was_given_away_ends_the_container_without_a_report(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo up; sleep 100"))
    with executing(host, recorded.spec):
        until(lambda: recorded.lines() == ["up"])
        recorded.given_away = True
    assert recorded.final == {}
    assert host.engine.managed(host.runner_id) == []
    assert list(host.executions.iterdir()) == []


def test_what_is_left_in_outputs_is_uploaded_also_after_a_failure(server: RunnerServer, host: Host) -> None:
    commands = (
        "mkdir -p /valohai/outputs/a; echo 1 >/valohai/outputs/a/one; ln -s /etc/passwd /valohai/outputs/x; false"
    )
    recorded = run(server, host, execution(commands))
    assert recorded.outputs == {"a/one": b"1\n"}
    assert recorded.final["state"] == "error"


def test_a_program_sets_its_status_detail_through_the_relay(server: RunnerServer, host: Host) -> None:
    program = (
        "import json, urllib.request as u;"
        "c = json.load(open('/valohai/config/api.json'))['set_status_detail'];"
        "b = json.dumps({'status_detail': 'half way'}).encode();"
        "print(u.urlopen(u.Request(c['url'], b, c['headers'], method=c['method'])).status)"
    )
    refused = "python3 -c \"import urllib.request as u; u.urlopen('$URL')\" 2>&1 | tail -1"
    find = "URL=$(python3 -c \"import json; print(json.load(open('/valohai/config/api.json'))['set_status_detail']['url'])\")"
    recorded = run(server, host, execution(f'python3 -c "{program}"', find, refused.replace("'$URL'", "'$URL'")))
    assert recorded.details == ["half way"]
    assert recorded.lines()[0] == "200"
    assert "404" in recorded.lines()[1]


def test_a_secret_leaves_the_machine_in_no_text(server: RunnerServer, host: Host) -> None:
    program = (
        "import json, os, sys, time, urllib.request as u;"
        "c = json.load(open('/valohai/config/api.json'))['set_status_detail'];"
        "b = json.dumps({'status_detail': 'with ' + 'x' * 1000 + os.environ['TOKEN']}).encode();"
        "u.urlopen(u.Request(c['url'], b, c['headers'], method=c['method']));"
        "print(os.environ['TOKEN'], file=sys.stderr);"
        "sys.stdout.write('one ' + os.environ['TOKEN'][:9]); sys.stdout.flush(); time.sleep(2.5);"
        "print(os.environ['TOKEN'][9:])"
    )
    token = "an-open-secret"
    commands = (f'python3 -c "{program}"', f": {'x' * 285} {token}; exit 3")
    given = {"environment_variables": {"TOKEN": token}, "secrets": ["TOKEN"]}
    recorded = run(server, host, execution(*commands, **given))
    assert recorded.lines() == ["one ***"]
    assert recorded.previews == [("stdout", "one ")]
    assert recorded.lines("stderr") == ["***"]
    assert recorded.details == ["with " + "x" * 1000 + "***"]
    assert recorded.final["message"] == f"Command 2 of 2 exited with 3: `: {'x' * 285} ***; exit 3`"
    assert recorded.acknowledged["stdout"] == len(f"one {token}\n")
    everything = b"".join(recorded.text(stream) for stream in recorded.pieces) + json.dumps(recorded.final).encode()
    assert b"an-open" not in everything


@pytest.mark.root
def test_its_container_does_not_reach_other_ports_of_the_machine(server: RunnerServer, host: Host) -> None:
    gateway = host.network.gateway
    with socket.create_server((gateway, 0)) as other:

        def accept() -> None:
            with suppress(OSError):
                other.accept()[0].close()

        threading.Thread(target=accept, daemon=True).start()
        command = f"nc -w 2 {gateway} {other.getsockname()[1]} </dev/null && echo reached || echo closed"
        recorded = run(server, host, execution(command, image=BUSYBOX))
    assert recorded.lines() == ["closed"]


def test_an_image_that_is_not_available_is_one_clear_sentence(server: RunnerServer, host: Host) -> None:
    recorded = run(server, host, execution("true", image="127.0.0.1:1/nobody/nothing:1"))
    assert recorded.final["failure_reason"] == "image"
    said = "The image 127.0.0.1:1/nobody/nothing:1 is not available: the registry refused the connection"
    assert recorded.final["message"] == said


def test_an_image_without_a_shell_is_refused_with_the_reason(server: RunnerServer, host: Host) -> None:
    with empty_image() as image:
        recorded = run(server, host, execution("true", image=image))
    assert recorded.final["failure_reason"] == "image"
    assert "has no /bin/sh" in recorded.final["message"]


def test_the_images_user_and_not_its_entrypoint_runs_the_commands(server: RunnerServer, host: Host) -> None:
    made = docker("create", IMAGE, "true")
    docker("commit", "--change", "USER 1234:1234", "--change", 'ENTRYPOINT ["/bin/false"]', made, "pushmill-test-user")
    docker("rm", made)
    command = "id -u; echo err >/dev/stderr; touch here /valohai/outputs/o /valohai/inputs/i; echo x >>train.py"
    try:
        recorded = run(server, host, execution(command, image="pushmill-test-user"))
    finally:
        docker("image", "rm", "pushmill-test-user")
    assert recorded.lines() == ["1234"]
    assert recorded.lines("stderr") == ["err"]
    assert list(recorded.outputs) == ["o"]


def test_an_image_with_nothing_but_busybox_is_enough(server: RunnerServer, host: Host) -> None:
    recorded = run(server, host, execution("echo a; echo b >/dev/stderr; ls", "sh -c 'exit 4'", image=BUSYBOX))
    assert recorded.lines() == ["a", "train.py"]
    assert recorded.lines("stderr") == ["b"]
    assert recorded.final["exit_code"] == 4


def test_a_script_with_an_interpreter_line_is_run_by_it(server: RunnerServer, host: Host) -> None:
    recorded = run(
        server, host, execution("#!/usr/bin/env python3\nimport sys\nprint(sys.version_info.major)\nsys.exit(5)")
    )
    assert recorded.lines() == ["3"]
    assert recorded.final["message"] == "The script exited with 5"


def test_without_overlays_the_commit_is_copied(server: RunnerServer, host: Host) -> None:
    host.engine.overlay = False
    recorded = run(server, host, execution("cat train.py; echo more >>train.py; touch new"))
    assert recorded.lines() == ["print('trained')"]
    assert (host.cache / "trees" / "demo" / COMMIT / "train.py").read_text() == "print('trained')\n"


def test_an_overlay_that_the_daemon_cannot_mount_falls_back_to_a_copy(server: RunnerServer, tmp_path: Path) -> None:
    # the kernel refuses an upper layer inside the lower one's path that is no directory there: a file system without
    # overlays answers in the same place
    with runner_host(tmp_path, server.url) as host:
        recorded = server.add(execution("cat train.py"))
        directory = host.executions / recorded.spec.uuid
        server.before = lambda path: _spoil(directory) if path.endswith("/container") and host.engine.overlay else None
        execute(host, recorded.spec.uuid, 1)
        assert not host.engine.overlay
        assert recorded.lines() == ["print('trained')"]


def _spoil(directory: Path) -> None:
    (directory / "repository" / "work").rmdir()


def test_a_container_may_do_no_more_than_it_should(server: RunnerServer, tmp_path: Path) -> None:
    with runner_host(tmp_path, server.url, memory=Memory(200_000_000), cpus=1.5, pids=99) as host:
        recorded = server.add(execution("echo up; sleep 100", stop_grace_s=0.0))
        with executing(host, recorded.spec):
            until(lambda: recorded.lines() == ["up"])
            found = json.loads(docker("inspect", recorded.container["container_id"]))[0]
            recorded.stop = "stop"
    config, limits = found["Config"], found["HostConfig"]
    assert (config["Entrypoint"], config["Cmd"]) == ([], ["/bin/sh", "/pushmill/main"])
    assert (config["OpenStdin"], config["Tty"], config["WorkingDir"]) == (False, False, "/valohai/repository")
    assert config["Labels"]["pushmill.managed"] == "true"
    assert config["Labels"]["pushmill.runner"] == host.runner_id
    assert config["Labels"]["pushmill.execution"] == recorded.spec.uuid
    assert config["Labels"]["pushmill.attempt"] == "1"
    assert not limits["Privileged"]
    assert limits["CapAdd"] is None
    assert sorted(limits["CapDrop"]) == ["MKNOD", "NET_RAW"]
    assert limits["SecurityOpt"] == ["no-new-privileges"]
    assert not limits["Devices"]
    assert not limits["Binds"]
    assert limits["Init"] is False
    assert limits["LogConfig"]["Type"] == "none"
    assert (limits["PidsLimit"], limits["Memory"], limits["NanoCpus"]) == (99, 200_000_000, 1_500_000_000)
    assert limits["ShmSize"] == 64 * 1024 * 1024
    network = limits["NetworkMode"]
    assert network.startswith("container:") if host.ready_sandbox else network == NETWORK
    places = {mount["Destination"]: mount["RW"] for mount in found["Mounts"]}
    assert {place for place, writable in places.items() if not writable} == {
        "/valohai/config",
        "/pushmill/main",
        "/pushmill/script",
    }
    shared = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}  # by Docker, among the containers in a sandbox
    assert {place.rpartition("/")[0] for place in places.keys() - shared} == {"/valohai", "/pushmill"}


def test_containers_cannot_reach_each_other(host: Host) -> None:
    network = json.loads(docker("network", "inspect", host.settings.network))[0]
    assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"


def test_the_lease_is_extended_while_the_final_report_cannot_be_sent(server: RunnerServer, host: Host) -> None:
    recorded, asked = server.add(execution("echo hello")), list[str]()

    def refuse_the_end_until_the_lease_is_extended(path: str) -> int | None:
        asked.append(path)
        ended = next((at for at, one in enumerate(asked) if one.endswith("/final")), len(asked))
        extended = any(one.endswith("/heartbeat") for one in asked[ended:])
        return 503 if path.endswith("/final") and not extended else None

    server.before = refuse_the_end_until_the_lease_is_extended
    with executing(host, recorded.spec):
        until(lambda: recorded.final)
    assert recorded.final["state"] == "complete"
