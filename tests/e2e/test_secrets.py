"""A careless step prints its secrets in every way: none of them can be found on the server."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import subprocess
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from instance import Checkout, Instance, wait_for
from redis import Redis
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]

TOKEN = "tok_8Xw2/kQ+v9Lm'Rs4Zt7b"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCx\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END KEY-----"
WORD = "written-in-the-yaml"
PYTHON = (
    "import os, time; t = os.environ['TOKEN']; print('half: ' + t[:11], end='', flush=True); "
    "time.sleep(3); print(t[11:])",
    "import json, os; print(json.dumps({'loss': 0.5, 'token': os.environ['TOKEN'], 'key': os.environ['KEY']}))",
    "import base64, os; print(base64.encodebytes(b'some user:' + os.environ['KEY'].encode()).decode(), end='')",
)
LEAK = (
    'echo "plain: $TOKEN"; echo "on stderr: $TOKEN" >&2',
    *(f'python3 -c "{program}"' for program in PYTHON),
    "printf 'user:%s' \"$TOKEN\" | base64",
    'echo "$KEY"; echo "$KEY" | base64',
    'ln -s /nowhere "/valohai/outputs/$(printf %s "$TOKEN" | base64)"',
    'printf %s "$TOKEN" | sha256sum; echo "mode $MODE"',
    "while [ ! -e /valohai/outputs/go ]; do sleep 0.1; done; exit 3",
)
DECLARED = "    environment-variables:\n      - {name: TOKEN, optional: false}\n      - {name: MODE, optional: false}\n"


def traces() -> list[bytes]:
    """Return what must not be found: the values, their halves, their lines, and their base64 at any offset."""
    texts = [TOKEN, TOKEN[:11], TOKEN[11:], *KEY.split("\n"), json.dumps(KEY)[1:-1]]
    found = [text.encode() for text in texts]
    for value in (TOKEN, KEY):
        data = value.encode()
        for before, first in enumerate((0, 2, 3)):
            encoded = base64.b64encode(bytes(before) + data)[first : 4 * (before + len(data)) // 3]
            found += [encoded[at : at + 16] for at in range(0, len(encoded) - 15, 8)]
    return found


def add_project(server: Instance, name: str) -> None:
    server.pushmill("project", "add", name)


def set_variable(server: Instance, project: str, name: str, value: str, *options: str) -> None:
    server.pushmill("project", "variable", "set", project, name, *options, given=value)


def in_redis(server: Instance) -> bytes:
    """Return the whole content of Redis, with data of RQ decompressed."""
    connection = Redis.from_url((server.data / "redis" / "url").read_text().strip())
    read: dict[bytes, Any] = {
        b"string": connection.get,
        b"hash": lambda key: [part for pair in connection.hgetall(key).items() for part in pair],
        b"list": lambda key: connection.lrange(key, 0, -1),
        b"set": connection.smembers,
        b"zset": lambda key: connection.zrange(key, 0, -1),
        b"stream": lambda key: [repr(connection.xrange(key)).encode()],
    }
    found: list[bytes] = []
    for key in connection.scan_iter():
        kind = connection.type(key)
        values = read[kind](key) if kind in read else []
        found += [key, *([values] if isinstance(values, bytes) else values or [])]
    connection.close()
    assert found
    return b"\n".join([*found, *_decompressed(found)])


def _decompressed(values: list[bytes]) -> Iterator[bytes]:
    for value in values:
        with contextlib.suppress(zlib.error):
            yield zlib.decompress(value)


def in_labels(execution: str) -> bytes:
    ids = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label=pushmill.execution={execution}"], capture_output=True, check=True
    ).stdout.split()
    assert ids
    inspected = json.loads(subprocess.run(["docker", "inspect", *ids], capture_output=True, check=True).stdout)
    assert any(TOKEN in variable for variable in inspected[0]["Config"]["Env"])
    kept = [[item["Config"].pop("Env"), item][1] for item in inspected]
    return json.dumps(kept).encode()


def test_nothing_of_a_secret_is_found_on_the_server(server: Instance, checkout: Checkout) -> None:
    add_project(server, "leaky")
    set_variable(server, "leaky", "TOKEN", TOKEN, "--secret")
    set_variable(server, "leaky", "KEY", KEY, "--secret")
    set_variable(server, "leaky", "MODE", "public")
    checkout.commit({"valohai.yaml": step("leak", *LEAK, extra=DECLARED)})
    checkout.push(server.git_url("leaky"))
    execution = wait_for(lambda: server.executions("leaky"))[0]["id"]
    wait_for(lambda: "mode public" in server.events(execution, "stdout"))

    assert not [trace for trace in traces() if trace in in_redis(server)]
    assert not [trace for trace in traces() if trace in in_labels(execution)]
    (server.data / "runner" / "executions" / execution / "outputs" / "go").touch()
    final = server.wait_final(execution)
    assert (final["status"], final["exit_code"]) == ("error", 3)

    printed = server.events(execution, "stdout")
    assert printed[:2] == ["plain: ***", "half: ***"]
    assert json.loads(printed[2]) == {"loss": 0.5, "token": "***", "key": "***"}
    assert f"{hashlib.sha256(TOKEN.encode()).hexdigest()}  -" in printed
    assert server.events(execution, "stderr") == ["on stderr: ***"]
    assert any("*** is a symbolic link" in line for line in server.events(execution, "status"))
    wait_for(lambda: not (server.data / "runner" / "executions" / execution).exists())
    everything = {path: path.read_bytes() for path in server.data.rglob("*") if path.is_file()}
    assert {"pushmill.db", "up.out", "secret.key"} <= {path.name for path in everything}
    assert not [(path, trace) for path, data in everything.items() for trace in traces() if trace in data]
    assert not [trace for trace in traces() if trace in in_redis(server)]


def test_a_secret_that_stands_in_a_failing_command_is_not_in_its_status_line(
    server: Instance, checkout: Checkout
) -> None:
    add_project(server, "wordy")
    set_variable(server, "wordy", "WORD", WORD, "--secret")
    checkout.commit({"valohai.yaml": step("fail", f"sh -c 'exit 4' {WORD}")})
    checkout.push(server.git_url("wordy"))
    final = server.run("wordy", "fail")
    assert final["failure_message"] == "Command 1 of 1 exited with 4: `sh -c 'exit 4' ***`"
    assert WORD not in "\n".join(server.events(final["id"]))
