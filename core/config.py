"""Load config.toml into a frozen Config. `config.example.toml` explains every key; a test compares the defaults.

Sizes are numbers of bytes or text such as "10 GiB"; durations are seconds or text such as "30 s", "2 h". A secret can
be read from a file: `<key>_file` names it. Unknown keys are errors.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from core.errors import ConfigError
from core.login_config import LOGIN_NAME, LoginConfig
from core.names import explain_unknown_name

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
KIB, MIB, GIB = 1024, 1024**2, 1024**3
SIZE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": KIB,
    "mib": MIB,
    "gib": GIB,
    "tib": 1024**4,
}
DURATION_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Size(int):
    """A size in bytes."""


class Seconds(float):
    """A duration in seconds."""


class Memory(str):
    """A size in bytes, or a share of the machine's memory such as "90 %"; "0" means no limit."""

    def bytes_on(self, machine: int) -> int:
        """Return the size in bytes on a machine with `machine` bytes of memory."""
        return int(float(self.removesuffix("%")) / 100 * machine) if self.endswith("%") else int(self)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """`[server]`: the web process."""

    host: str = "127.0.0.1"
    port: int = 8000
    url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    min_free_disk: Size = Size(GIB)
    threads: int = 64
    followers: int = 500
    connections: int = 3000
    connections_per_address: int = 1000
    header_timeout: Seconds = Seconds(10.0)
    min_rate: Size = Size(500)
    slow_after: Seconds = Seconds(20.0)
    hook_body: Size = Size(25 * MIB)
    hook_form: Size = Size(5 * MIB)
    hook_memory: Size = Size(100 * MIB)
    hook_rate: int = 600
    hook_queue: int = 1000

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """`trusted_proxies` as networks. Raises ConfigError."""
        try:
            return tuple(ipaddress.ip_network(item) for item in self.trusted_proxies)
        except ValueError as error:
            raise ConfigError(
                f'[server] trusted_proxies: {error}; it is a list such as ["127.0.0.1", "10.0.0.0/8"]'
            ) from None


@dataclass(frozen=True, kw_only=True)
class RedisConfig:
    """`[redis]`: the Redis server of the queues."""

    url: str = ""
    listen: str = ""
    cert: str = ""
    key: str = ""

    @property
    def listen_address(self) -> tuple[str, int] | None:
        """Return host and port of `listen`, None if it is not set.

        Raises ConfigError for invalid settings and for a non-loopback address without TLS.
        """
        if not self.listen:
            return None
        host, _, port = self.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not _port(port):
            raise ConfigError(
                f'[redis] listen must be an address and a port such as "0.0.0.0:6380", got {self.listen!r}'
            )
        if self.url:
            raise ConfigError("[redis] has both url and listen, but listen is for the private Redis only: remove one")
        if bool(self.cert) != bool(self.key):
            raise ConfigError("[redis] cert and key belong together; set both or neither")
        if not self.cert and not _is_loopback(host):
            raise ConfigError(
                f"[redis] listen {self.listen!r} is not a loopback address: set cert and key, since TLS is required there"
            )
        return host, _port(port)


@dataclass(frozen=True, kw_only=True)
class GitConfig:
    """`[git]`: what may be fetched, and how often remotes are polled."""

    allow_local: bool = False
    allow_http: bool = False
    poll: Seconds = Seconds(60.0)
    poll_webhooks: Seconds = Seconds(600.0)
    poll_grace: Seconds = Seconds(120.0)
    fork_bytes: Size = Size(100 * MIB)
    fork_time: Seconds = Seconds(120.0)
    forks_bytes: Size = Size(GIB)
    submodule_hosts: tuple[str, ...] = ("github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "huggingface.co")
    submodules: int = 50
    submodule_bytes: Size = Size(2 * GIB)
    lfs_files: int = 10_000
    lfs_bytes: Size = Size(50 * GIB)
    sources_time: Seconds = Seconds(3600.0)


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """`[runner]`: this machine as a runner."""

    name: str = "local"
    server: str = ""
    token: str = ""
    slots: int = 2
    network: str = "pushmill"
    network_sandbox: bool = True
    memory: Memory = Memory("90 %")
    cpus: float = 0.0
    pids: int = 4096
    shm: Size = Size(GIB)
    min_free_disk: Size = Size(GIB)
    allow_input_hosts: tuple[str, ...] = ()
    allow_registries: tuple[str, ...] = ()
    relay_ports: str = "28200-28999"
    allow_host_ports: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    cache: Size = Size(50 * GIB)
    cache_age: Seconds = Seconds(14 * 86400.0)
    image_age: Seconds = Seconds(30 * 86400.0)

    @property
    def relay_port_range(self) -> tuple[int, int]:
        """Return the first and the last port of `relay_ports`. Raises ConfigError."""
        first, _, last = self.relay_ports.partition("-")
        found = _port(first), _port(last or first)
        if not 0 < found[0] <= found[1]:
            raise ConfigError(f'[runner] relay_ports must be ports such as "28200-28999", got {self.relay_ports!r}')
        return found

    @property
    def host_ports(self) -> tuple[tuple[str, int], ...]:
        """Return `allow_host_ports` as (protocol, port) pairs. Raises ConfigError."""
        found = []
        for entry in self.allow_host_ports:
            port, _, protocol = entry.partition("/")
            if not _port(port) or protocol not in ("", "tcp", "udp"):
                raise ConfigError(f'[runner] allow_host_ports must be ports such as "5000" or "53/udp", got {entry!r}')
            found.append((protocol or "tcp", _port(port)))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """`[limits]`: limits of one execution, and of reading valohai.yaml."""

    log: Size = Size(100 * MIB)
    output_bytes: Size = Size(10 * GIB)
    output_count: int = 10_000
    metadata: int = 1_000_000
    max_executions: int = 200
    environments: tuple[str, ...] = ()
    stop_grace: Seconds = Seconds(30.0)
    time: Seconds = Seconds(0.0)
    no_output: Seconds = Seconds(0.0)
    runner_silence: Seconds = Seconds(2 * 3600.0)
    deliveries: Seconds = Seconds(90 * 86400.0)
    package_bytes: Size = Size(GIB)
    package_unpacked: Size = Size(2 * GIB)
    package_files: int = 10_000
    package_age: Seconds = Seconds(30 * 86400.0)
    audit: Seconds = Seconds(365 * 86400.0)
    audit_entries: int = 1_000_000
    config_items: int = 1000
    config_time: Seconds = Seconds(30.0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole configuration, and the data directory."""

    data: Path
    server: ServerConfig = field(default_factory=ServerConfig)
    redis: RedisConfig = field(default_factory=RedisConfig)
    git: GitConfig = field(default_factory=GitConfig)
    runner: RunnerConfig = field(default_factory=RunnerConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    login: Mapping[str, LoginConfig] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.data / "pushmill.db"

    @property
    def git_dir(self) -> Path:
        return self.data / "git"

    @property
    def logs_dir(self) -> Path:
        return self.data / "logs"

    @property
    def outputs_dir(self) -> Path:
        return self.data / "outputs"

    @property
    def runner_dir(self) -> Path:
        return self.data / "runner"

    @property
    def local_url(self) -> str:
        """URL of the server as seen from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.server.host, self.server.host)  # noqa: S104
        return f"http://[{host}]:{self.server.port}" if ":" in host else f"http://{host}:{self.server.port}"


def _port(text: str) -> int:
    """Return the port number, 0 if `text` is not a port."""
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) and int(text) < 65536 else 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def get_default_data_dir() -> Path:
    """Return `$PUSHMILL_DATA`, else `pushmill` below the XDG data directory."""
    if given := os.environ.get("PUSHMILL_DATA"):
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser().absolute() / "pushmill"


def load(data: Path | None = None, path: Path | None = None, **overrides: Any) -> Config:
    """Load the configuration of `data` from `path`, else from its `config.toml`, else return the defaults.

    `overrides` are `section__key=value`; None means "not given". They win over `$PUSHMILL_HOST` and `$PUSHMILL_PORT`,
    in which `pushmill up` passes its options to its child processes, and these win over the file. Raises ConfigError.
    """
    data = (data or get_default_data_dir()).absolute()
    source = path or data / "config.toml"
    if source.exists():
        try:
            table = tomllib.loads(source.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{source}: {error}") from None
    elif path is not None:
        raise ConfigError(f"there is no configuration file {path}: copy config.example.toml to start one")
    else:
        table = {}
    given = {name: value for name, value in overrides.items() if value is not None}
    for name, value in (_handed_on() | given).items():
        section, key = name.split("__")
        if isinstance(values := table.setdefault(section, {}), dict):  # otherwise from_table reports the error
            values[key] = value
    return build_config(table, data, str(source))


def _handed_on() -> dict[str, Any]:
    host, port = os.environ.get("PUSHMILL_HOST"), os.environ.get("PUSHMILL_PORT")
    if port and not port.isdecimal():
        raise ConfigError(f"PUSHMILL_PORT must be a number, got {port!r}")
    return ({"server__host": host} if host else {}) | ({"server__port": int(port)} if port else {})


def build_config(table: dict[str, Any], data: Path, source: str = "config.toml") -> Config:
    config = Config(data=data)
    sections = {f.name for f in fields(Config)} - {"data"}
    for name, values in table.items():
        if name not in sections:
            raise ConfigError(f"{source}: {explain_unknown_name('section', name, sorted(sections))}")
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {name} must be a section, [{name}]")
        if name == "login":
            config = replace(
                config, login={key: _login(key, value, f"{source}: [login.{key}]") for key, value in values.items()}
            )
            continue
        config = replace(config, **{name: _section(getattr(config, name), values, f"{source}: [{name}]")})
    return config


def _login(name: str, values: Any, where: str) -> LoginConfig:
    if not LOGIN_NAME.fullmatch(name) or not isinstance(values, dict):
        raise ConfigError(f"{where} must be a section with a name of lower-case letters, digits and '-'")
    found: LoginConfig = _section(LoginConfig(), values, where)
    found.check(where)
    return found


def _section(default: Any, values: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(type(default))
    given: dict[str, Any] = {}
    for key, value in values.items():
        target = key.removesuffix("_file")
        if key in hints:
            given[key] = _value(value, hints[key], f"{where} {key}")
        elif target != key and target in {"token", "client_secret"}:
            if target in values:
                raise ConfigError(f"{where} has both {target} and {key}: remove one")
            given[target] = _read_secret(Path(str(value)), f"{where} {key}")
        else:
            raise ConfigError(f"{where}: {explain_unknown_name('key', key, sorted(hints))}")
    return replace(default, **given)


def _read_secret(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{where}: {error}") from None


def parse_size(text: str, where: str) -> Size:
    """Parse a number or text such as "10 GiB" as bytes. Raises ConfigError that names `where`."""
    return Size(_quantity(text, SIZE_UNITS, "10 GiB", where))


def parse_duration(text: str, where: str) -> Seconds:
    """Parse a number or text such as "90 d" as seconds. Raises ConfigError that names `where`."""
    return Seconds(_quantity(text, DURATION_UNITS, "90 d", where))


def _value(value: Any, kind: Any, where: str) -> Any:
    if kind is Size:
        return Size(_quantity(value, SIZE_UNITS, "10 GiB", where))
    if kind is Memory:
        return _memory(value, where)
    if kind is Seconds:
        return Seconds(_quantity(value, DURATION_UNITS, "2 h", where))
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind in (str, int, bool) and type(value) is kind:
        return value
    expected = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}.get(
        kind, "a list of text"
    )
    raise ConfigError(f"{where} must be {expected}, got {value!r}")


def _memory(value: Any, where: str) -> Memory:
    share = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value) if isinstance(value, str) else None
    if share and 0 < float(share.group(1)) <= 100:
        return Memory(f"{float(share.group(1)):g} %")
    return Memory(int(_quantity(value, SIZE_UNITS, '16 GiB" or "90 %', where)))


def _quantity(value: Any, units: dict[str, float] | dict[str, int], example: str, where: str) -> float:
    if type(value) in (int, float) and value >= 0:
        return float(value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value) if isinstance(value, str) else None
    unit = match.group(2).lower() if match else ""
    if match and (unit in units or not unit):
        return float(match.group(1)) * (units[unit] if unit else 1)
    raise ConfigError(f'{where} must be a number or text such as "{example}", got {value!r}')
