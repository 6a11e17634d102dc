"""One push, from git to the page; everything is real."""

from __future__ import annotations

import json
import subprocess

import httpx
import pytest
from instance import Checkout, Instance, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.redis]

IMAGE = "pushmill-quickstart"


def step(name: str, *commands: str, extra: str = "") -> str:
    items = "\n".join(f"      - {json.dumps(command)}" for command in commands)
    return f"- step:\n    name: {name}\n    image: {IMAGE}\n    command:\n{items}\n{extra}"


def test_first_push_makes_the_project_and_runs_every_step(server: Instance, checkout: Checkout) -> None:
    yaml = step(
        "train",
        "echo hello from $PWD",
        'echo \'{"epoch": 1, "loss": 0.5}\'',
        'echo \'{"epoch": 2, "loss": 0.25}\'',
        "echo oops >&2",
        "mkdir -p /valohai/outputs/sub && echo model > /valohai/outputs/sub/model.txt",
        "cat data.txt",
        extra="    parameters:\n      - {name: lr, type: float, default: 0.1}\n",
    ) + step("evaluate", "cat /valohai/config/execution.json")
    sha = checkout.commit({"valohai.yaml": yaml, "data.txt": "committed\n"})
    said = checkout.push(server.git_url("first"))
    assert f"/p/first/commits/{sha}/" in said
    train, evaluate = server.run("first", "train"), server.run("first", "evaluate")
    assert (train["status"], evaluate["status"]) == ("complete", "complete")
    assert train["parameters"] == {"lr": 0.1}
    out = server.events(train["id"], "stdout")
    assert out == [
        "hello from /valohai/repository",
        '{"epoch": 1, "loss": 0.5}',
        '{"epoch": 2, "loss": 0.25}',
        "committed",
    ]
    assert server.events(train["id"], "stderr") == ["oops"]
    assert train["cumulative_metadata"] == {"epoch": 2, "loss": 0.25}
    (output,) = server.outputs(train["id"])
    assert (output["name"], output["size"]) == ("sub/model.txt", 6)
    assert server.download(output["id"]) == b"model\n"
    config = json.loads("".join(server.events(evaluate["id"], "stdout")))
    assert config["valohai.commit-identifier"] == sha
    assert config["valohai.project-name"] == "admin/first"


def test_a_failing_command_is_named_and_the_rest_is_not_run(server: Instance, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("fail", "echo one", "sh -c 'exit 3'", "echo never")})
    checkout.push(server.git_url("failing"))
    execution = server.run("failing", "fail")
    assert execution["status"] == "error"
    assert server.events(execution["id"], "stdout") == ["one"]
    assert any("sh -c 'exit 3'" in line and "3" in line for line in server.events(execution["id"], "status"))


def test_an_image_that_does_not_exist_ends_in_a_sentence_that_names_it(server: Instance, checkout: Checkout) -> None:
    yaml = step("pull", "true").replace(IMAGE, "127.0.0.1:9/no/such-image:1")
    checkout.commit({"valohai.yaml": yaml})
    checkout.push(server.git_url("imageless"))
    execution = server.run("imageless", "pull")
    assert execution["status"] == "error"
    assert any("no/such-image" in line for line in server.events(execution["id"], "status"))


def test_running_out_of_memory_is_told_apart_from_failing(server: Instance, checkout: Checkout) -> None:
    eat = "python3 -c 'x = bytearray({})\nfor i in range(0, len(x), 4096): x[i] = 1'"
    small = "    resources: {memory: {max: 64}}\n"
    yaml = step("at-the-runners-limit", eat.format(2_000_000_000)) + step(
        "at-its-own", eat.format(200_000_000), extra=small
    )
    checkout.commit({"valohai.yaml": yaml})
    checkout.push(server.git_url("hungry"))
    for name in ("at-the-runners-limit", "at-its-own"):
        execution = server.run("hungry", name)
        assert execution["status"] == "error"
        assert any("memory limit" in line for line in server.events(execution["id"], "status"))


def test_printing_without_end_keeps_the_first_and_the_newest_part_and_goes_on(
    server: Instance, checkout: Checkout
) -> None:
    checkout.commit({"valohai.yaml": step("print", "seq -w 1000000", "echo done > /valohai/outputs/done")})
    checkout.push(server.git_url("chatty"))
    execution = server.run("chatty", "print")
    assert execution["status"] == "complete"
    kept = server.events(execution["id"], "stdout")
    assert (kept[0], kept[-1]) == ("0000001", "1000000")
    assert kept == sorted(set(kept))
    assert 850_000 < 8 * len(kept) <= 1_000_000
    assert any("left out" in line or "omitted" in line for line in server.events(execution["id"], "status"))
    assert [output["name"] for output in server.outputs(execution["id"])] == ["done"]


def test_hostile_outputs_are_neither_followed_nor_lost_silently(server: Instance, checkout: Checkout) -> None:
    commands = [
        "cd /valohai/outputs",
        "ln -s /etc/passwd link && ln -s / root && mkfifo pipe",
        "printf data > \"$(printf 'new\\nline')\" && printf ok > good && chmod 4755 good",
    ]
    checkout.commit({"valohai.yaml": step("write", *commands)})
    checkout.push(server.git_url("hostile-outputs"))
    execution = server.run("hostile-outputs", "write")
    assert execution["status"] == "complete"
    assert [output["name"] for output in server.outputs(execution["id"])] == ["good", "new\nline"]
    said = " ".join(server.events(execution["id"], "status"))
    assert all(name in said for name in ("link", "root", "pipe"))


def test_a_stop_reaches_the_program_and_keeps_its_outputs(server: Instance, checkout: Checkout) -> None:
    program = (
        "import signal, sys, time\n"
        "def stop(*_): open('/valohai/outputs/checkpoint', 'w').write('saved'); print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('ready', flush=True)\nwhile True: time.sleep(0.1)\n"
    )
    checkout.commit({"valohai.yaml": step("train", "python3 train.py", "echo never"), "train.py": program})
    checkout.push(server.git_url("stopping"))
    execution = wait_for(lambda: server.executions("stopping"))[0]
    wait_for(lambda: "ready" in server.events(execution["id"], "stdout"))
    assert server.client.post(f"/executions/{execution['id']}/stop/").status_code == 200
    final = server.wait_final(execution["id"])
    assert final["status"] == "stopped"
    assert server.events(execution["id"], "stdout") == ["ready", "saved"]
    assert [output["name"] for output in server.outputs(execution["id"])] == ["checkpoint"]


def test_unknown_step_in_a_push_option_is_said_and_the_known_one_runs(server: Instance, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("a", "true") + step("b", "true")})
    said = checkout.push(server.git_url("choosy"), "pushmill.step=b", "pushmill.step=zzz")
    assert server.run("choosy", "b")["status"] == "complete"
    assert [execution["step"] for execution in server.executions("choosy")] == ["b"]
    page = httpx.get(f"{server.url}/p/choosy/commits/{checkout.git('rev-parse', 'HEAD').stdout.strip()}/",
                     headers={"Authorization": f"Token {server.token}"}).text  # fmt: skip
    assert "zzz" in said + page


def test_a_broken_configuration_is_shown_on_the_commit(server: Instance, checkout: Checkout) -> None:
    sha = checkout.commit({"valohai.yaml": "- step:\n    name: x\n    comand: oops\n"})
    checkout.push(server.git_url("broken"))

    def shown() -> bool:
        answer = httpx.get(f"{server.url}/p/broken/commits/{sha}/", headers={"Authorization": f"Token {server.token}"})
        return answer.status_code == 200 and "comand" in answer.text

    wait_for(shown)


def test_time_and_silence_limits_end_a_run_with_their_own_reason(server: Instance, checkout: Checkout) -> None:
    yaml = step("slow", "sleep 60", extra="    time-limit: 2s\n") + step(
        "silent", "sleep 60", extra="    no-output-timeout: 2s\n"
    )
    checkout.commit({"valohai.yaml": yaml})
    checkout.push(server.git_url("limits"))
    slow, silent = server.run("limits", "slow"), server.run("limits", "silent")
    assert (slow["status"], silent["status"]) == ("error", "error")
    assert any("time limit" in line for line in server.events(slow["id"], "status")), server.events(slow["id"])
    assert any("output" in line for line in server.events(silent["id"], "status")[3:]), server.events(silent["id"])


def test_inputs_on_loopback_are_refused_and_a_failing_server_is_named(server: Instance, checkout: Checkout) -> None:
    def inputs(url: str) -> str:
        return f"    inputs:\n      - name: data\n        default: {url}\n"

    yaml = step("secret", "true", extra=inputs(f"http://127.0.0.1:{server.port}/healthz"))
    yaml += step("missing", "true", extra=inputs(f"http://localhost:{server.port}/no/such/file"))
    yaml += step("good", "cat /valohai/inputs/data/healthz", extra=inputs(f"http://localhost:{server.port}/healthz"))
    checkout.commit({"valohai.yaml": yaml})
    checkout.push(server.git_url("inputs"))
    secret, missing, good = (server.run("inputs", name) for name in ("secret", "missing", "good"))
    assert (secret["status"], missing["status"], good["status"]) == ("error", "error", "complete")
    assert any("127.0.0.1" in line for line in server.events(secret["id"], "status"))
    assert any("404" in line for line in server.events(missing["id"], "status"))
    assert server.events(good["id"], "stdout") == ["ok"]


def test_nothing_of_a_finished_execution_stays_in_docker(server: Instance, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("quick", "true")})
    checkout.push(server.git_url("tidy"))
    execution = server.run("tidy", "quick")
    label = f"label=pushmill.execution={execution['id']}"

    def left() -> str:
        containers = subprocess.run(["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True).stdout
        volumes = subprocess.run(
            ["docker", "volume", "ls", "-q", "--filter", label], capture_output=True, text=True
        ).stdout
        return containers + volumes

    wait_for(lambda: left() == "")


def test_control_variables_hold_the_container_to_the_cores_they_name(server: Instance, checkout: Checkout) -> None:
    variables = "    environment-variables:\n      - {name: VH_CPU_LIMIT, default: '0-0'}\n"
    checkout.commit({"valohai.yaml": step("count", "nproc", extra=variables)})
    checkout.push(server.git_url("cores"))
    assert server.events(server.run("cores", "count")["id"], "stdout") == ["1"]
