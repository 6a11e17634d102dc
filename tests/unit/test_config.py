from __future__ import annotations

from pathlib import Path

import pytest

from core import config as configuration
from core.config import GIB, Config, RunnerConfig, build_config, load
from core.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
HERE = Path("/nowhere")


def test_the_example_file_lists_every_key_with_its_default() -> None:
    import tomllib
    from dataclasses import fields, is_dataclass

    table = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert build_config(table, HERE) == Config(data=HERE)
    sections = {f.name: getattr(Config(data=HERE), f.name) for f in fields(Config) if f.name not in ("data", "login")}
    assert all(is_dataclass(section) for section in sections.values())
    assert {name: set(values) for name, values in table.items()} == {
        name: {f.name for f in fields(section)} for name, section in sections.items()
    }


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"sever": {}}, ['no section "sever": did you mean "server"?']),
        ({"server": {"prot": 1}}, ["[server]", 'no key "prot": did you mean "port"?']),
        ({"server": 5}, ["server must be a section"]),
        ({"server": {"port": "80"}}, ["[server] port", "'80'"]),
        ({"server": {"port": True}}, ["[server] port", "True"]),
        ({"limits": {"log": "10 parsecs"}}, ["[limits] log", "10 parsecs", "10 GiB"]),
        ({"limits": {"log": -1}}, ["[limits] log", "-1"]),
        ({"limits": {"time": "soon"}}, ["[limits] time", "soon", "2 h"]),
        ({"runner": {"allow_input_hosts": "x"}}, ["allow_input_hosts", "list of text"]),
        ({"runner": {"token": "a", "token_file": "b"}}, ["both token and token_file", "remove one"]),
        ({"runner": {"token_file": "/does/not/exist"}}, ["token_file", "/does/not/exist"]),
        ({"runner": {"name_file": "x"}}, ['no key "name_file"']),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(table: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(table, HERE)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_sizes_and_durations_have_units() -> None:
    limits = build_config(
        {"limits": {"log": "1.5 GiB", "output_bytes": "2kB", "time": "2 h", "no_output": 7}}, HERE
    ).limits
    assert (limits.log, limits.output_bytes, limits.time, limits.no_output) == (int(1.5 * GIB), 2000, 7200.0, 7.0)


def test_a_secret_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n", encoding="utf-8")
    assert build_config({"runner": {"token_file": str(tmp_path / "token")}}, HERE).runner.token == "abc"


def test_the_file_of_the_data_directory_is_read_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 1\nhost = '::1'\n", encoding="utf-8")
    server = load(tmp_path, server__port=2, server__host=None).server
    assert (server.port, server.host) == (2, "::1")


def test_what_up_hands_on_to_its_children_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 1\n", encoding="utf-8")
    monkeypatch.setenv("PUSHMILL_HOST", "::")
    monkeypatch.setenv("PUSHMILL_PORT", "9000")
    assert load(tmp_path).local_url == "http://[::1]:9000"
    monkeypatch.setenv("PUSHMILL_PORT", "many")
    with pytest.raises(ConfigError, match=r"PUSHMILL_PORT.*many"):
        load(tmp_path)


def test_a_broken_or_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file .*gone.toml"):
        load(tmp_path, tmp_path / "gone.toml")
    (tmp_path / "config.toml").write_text("[server\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config.toml: "):
        load(tmp_path)
    (tmp_path / "config.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"config.toml: "):
        load(tmp_path)
    (tmp_path / "config.toml").write_text("server = 5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="server must be a section"):
        load(tmp_path, server__port=1)


def test_the_data_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSHMILL_DATA", "/somewhere")
    assert configuration.get_default_data_dir() == Path("/somewhere")
    monkeypatch.delenv("PUSHMILL_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert configuration.get_default_data_dir() == Path("/xdg/pushmill")


def test_ports_of_a_runner_are_ports(tmp_path: Path) -> None:
    def runner(**given: object) -> RunnerConfig:
        return build_config({"runner": given}, tmp_path).runner

    assert RunnerConfig().relay_port_range == (28200, 28999)
    assert runner(relay_ports="4000").relay_port_range == (4000, 4000)
    assert runner(allow_host_ports=["5000", "53/udp"]).host_ports == (("tcp", 5000), ("udp", 53))
    for text in ("", "0", "5-4", "1-70000", "a", "-2"):
        with pytest.raises(ConfigError, match="relay_ports"):
            runner(relay_ports=text).relay_port_range  # noqa: B018
    for text in ("", "0", "5/icmp", "5 -j ACCEPT", "65536"):
        with pytest.raises(ConfigError, match="allow_host_ports"):
            runner(allow_host_ports=[text]).host_ports  # noqa: B018


def test_memory_of_a_container_is_a_size_or_a_share_of_the_machine(tmp_path: Path) -> None:
    def memory(given: object) -> int:
        return build_config({"runner": {"memory": given}}, tmp_path).runner.memory.bytes_on(1000)

    assert RunnerConfig().memory.bytes_on(1000) == 900
    assert [memory(given) for given in (0, "0", 500, "2 KB", "50 %", "12.5%")] == [0, 0, 500, 2000, 500, 125]
    for wrong in ("0 %", "101 %", "-5 %", "%", "all", True, -1):
        with pytest.raises(ConfigError, match=r"memory must be .*90 %"):
            memory(wrong)
