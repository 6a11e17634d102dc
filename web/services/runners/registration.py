"""Administration of runners: register, limit, drain, remove, and rotate credentials."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from core.config import Config
from core.errors import CannotStart, ConfigError, Conflict, InvalidInput, NotFound
from core.model import Runner
from core.names import check_environment, check_runner, explain_unknown_name
from web.services.context import Context
from web.services.executions import lifecycle
from web.services.runners import redis_users
from web.store import audit, environments, executions, projects, runners, users
from web.store.audit import Act, Kind
from web.store.db import Database, transaction

if TYPE_CHECKING:
    from web.services.scheduling.queues import Queues  # which imports rq

MOST_SLOTS = 1000
EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104
CERTIFICATE = "/etc/pushmill/redis.crt"  # copy of a self-signed certificate on the runner's machine
CONFIG_FILE = "/etc/pushmill/config.toml"
LISTEN = """\
[redis]
listen = "0.0.0.0:6380"
cert = "/etc/pushmill/redis.crt"
key = "/etc/pushmill/redis.key"
"""
COMMAND = f"pushmill runner --config {CONFIG_FILE} --data /var/lib/pushmill"


@dataclass(frozen=True, kw_only=True)
class RunnerCredentials:
    """Credentials of a runner, shown only once. `notes` are sentences for the administrator."""

    name: str
    token: str
    redis_url: str
    server_url: str
    notes: tuple[str, ...]

    @property
    def config(self) -> str:
        """The content of config.toml on the runner's machine."""
        runner = f'[runner]\nname = "{self.name}"\nserver = "{self.server_url}"\ntoken = "{self.token}"\n'
        return f'{runner}\n[redis]\nurl = "{self.redis_url}"\n'

    @property
    def command(self) -> str:
        """The shell command that writes the configuration and starts the runner on its machine."""
        write = f"umask 077 && mkdir -p {Path(CONFIG_FILE).parent} && cat > {CONFIG_FILE}"
        return f"sudo sh -c '{write}' << 'END' && sudo {COMMAND}\n{self.config}END"


@dataclass(frozen=True, kw_only=True)
class MissingSetup:
    """The reason why runners on other machines cannot reach Redis, and the `lines` of config.toml that change that."""

    problem: str
    lines: str


def find_missing_setup(config: Config) -> MissingSetup | None:
    """Return what the server lacks for runners on other machines; None if nothing."""
    scheme = urlsplit(config.redis.url).scheme
    if scheme in ("redis", "rediss"):
        return None
    if config.redis.url:
        problem = (
            f"remote runners cannot reach Redis at {scheme}://: give its address as redis:// or rediss:// "
            "in [redis] url, start pushmill again, and register then"
        )
        return MissingSetup(problem=problem, lines='[redis]\nurl = "rediss://redis.example:6379/0"\n')
    if config.redis.listen_address is None:
        problem = (
            "remote runners are off: to enable them, set listen, cert and key in [redis] of config.toml "
            '(listen = "0.0.0.0:6380"), start pushmill again, and register then'
        )
        return MissingSetup(problem=problem, lines=LISTEN)
    return None


def get_by_name(db: Database, name: str) -> Runner:
    runner = runners.find_by_name(db, name)
    if runner is None:
        raise NotFound(explain_unknown_name("runner", name, [other.name for other in runners.list_runners(db)]))
    return runner


@dataclass(frozen=True, kw_only=True)
class RunnerLimits:
    """How many slots a runner may report, and the projects whose executions it gets; None means unchanged."""

    slots: int | None = None
    projects: Sequence[str] | None = None


NO_CHANGE = RunnerLimits()


def register(
    context: Context, queues: Queues, name: str, slugs: Sequence[str], limits: RunnerLimits = NO_CHANGE
) -> RunnerCredentials:
    """Create a runner, or register an existing one again.

    An existing one keeps its executions; its old token and password stop working.
    """
    db = context.db
    check_runner(name)
    if not slugs:
        raise InvalidInput("name at least one environment that the runner serves, such as `default`")
    for slug in slugs:
        check_environment(slug)
    _check(db, limits)
    made, sha256 = _credentials(context.config, name)
    redis_users.grant(queues.connection, name, sha256)
    with transaction(db):
        for slug in slugs:
            environments.ensure(db, slug)
        runners.add(db, name, made.token, list(dict.fromkeys(slugs)), sha256)
        _limit(db, get_by_name(db, name), limits)
        audit.record(db, Act.CREATE, Kind.RUNNER, name, detail=", ".join(slugs))
    return made


def limit(db: Database, runner: Runner, limits: RunnerLimits) -> None:
    """Set the limits of a runner. It keeps its running executions; unclaimed ones wait for any runner again."""
    _check(db, limits)
    with transaction(db):
        _limit(db, get_by_name(db, runner.name), limits)
        executions.unplace(db, runner.id)
        audit.record(db, Act.CHANGE, Kind.RUNNER, runner.name, detail="limits")


def _check(db: Database, limits: RunnerLimits) -> None:
    if limits.slots is not None and not 0 <= limits.slots <= MOST_SLOTS:
        raise InvalidInput(f"slots must be a number from 0 to {MOST_SLOTS}, got {limits.slots}")
    for name in limits.projects or ():
        projects.get_by_name(db, name)


def _limit(db: Database, runner: Runner, limits: RunnerLimits) -> None:
    most_slots = runner.most_slots if limits.slots is None else limits.slots
    wanted = runner.projects if limits.projects is None else tuple(dict.fromkeys(limits.projects))
    runners.set_limits(db, runner.id, most_slots, wanted)


def rotate(context: Context, queues: Queues, runner: Runner) -> RunnerCredentials:
    """Create a new token and password; the old ones stop working at once."""
    made, sha256 = _credentials(context.config, runner.name)
    with transaction(context.db):
        runners.set_token(context.db, runner.id, made.token, sha256)
        audit.record(context.db, Act.CHANGE, Kind.RUNNER, runner.name, detail="new credentials")
    redis_users.grant(queues.connection, runner.name, sha256)
    return made


def drain(db: Database, runner: Runner) -> int:
    """Stop placing executions on a runner. Unclaimed ones wait for any runner again; return how many these are."""
    with transaction(db):
        runners.set_draining(db, runner.id, True)
        audit.record(db, Act.CHANGE, Kind.RUNNER, runner.name, detail="drain")
        return executions.unplace(db, runner.id)


def resume(db: Database, runner: Runner) -> None:
    with transaction(db):
        runners.set_draining(db, runner.id, False)
        audit.record(db, Act.CHANGE, Kind.RUNNER, runner.name, detail="resume")


def remove(context: Context, queues: Queues, runner: Runner, *, force: bool) -> None:
    """Mark a runner as removed; its token and its Redis user stop working.

    Raises Conflict if it runs executions, unless `force` is set: then they are lost.
    """
    db = context.db
    with transaction(db):
        held = executions.list_started_on(db, runner.id)
        if held and not force:
            count = "1 execution" if len(held) == 1 else f"{len(held)} executions"
            raise Conflict(
                f"runner {runner.name} runs {count}: `pushmill runner drain {runner.name} --wait` lets it finish, "
                "--force gives up its executions"
            )
        executions.unplace(db, runner.id)
        runners.remove(db, runner.id)
        audit.record(db, Act.REMOVE, Kind.RUNNER, runner.name, detail="with its executions" if held else "")
    for execution in held:
        lifecycle.lose(context, execution, f"Runner {runner.name} was removed")
    redis_users.revoke(queues.connection, runner.name)
    queues.forget(runner.name)


def _credentials(config: Config, name: str) -> tuple[RunnerCredentials, str]:
    """Create credentials; also return the hash of the Redis password."""
    if name == config.runner.name:
        raise InvalidInput(
            f"{name} is the runner of the server's own machine, and the server creates its token; "
            f"to replace it, remove {config.runner_dir / 'token'} and start the server again"
        )
    password = users.make_token()
    redis_url, notes = _redis_url(config, name, password)
    server_url = config.server.url.rstrip("/")
    if not server_url and config.server.host in EVERYWHERE:
        server_url = f"http://{socket.gethostname()}:{config.server.port}"
    elif not server_url:
        server_url = config.local_url
        notes += (
            f"The server listens on {config.server.host} only: set [server] url and listen where other machines can reach it.",
        )
    made = RunnerCredentials(
        name=name, token=users.make_token(), redis_url=redis_url, server_url=server_url, notes=notes
    )
    return made, users.hash_secret(password)


def _redis_url(config: Config, name: str, password: str) -> tuple[str, tuple[str, ...]]:
    """Return the Redis URL of a runner, and notes. Raises ConfigError if Redis does not accept remote runners."""
    login = f"{redis_users.make_username(name)}:{password}"
    given, address = urlsplit(config.redis.url), config.redis.listen_address
    if given.scheme in ("redis", "rediss"):
        return given._replace(netloc=f"{login}@{given.netloc.rpartition('@')[2]}").geturl(), ()
    if (lacking := find_missing_setup(config)) or address is None:
        raise ConfigError(lacking.problem if lacking else "")
    host, port = address
    if host in EVERYWHERE:
        host = urlsplit(config.server.url).hostname or socket.gethostname()
    where = f"{login}@[{host}]:{port}/0" if ":" in host else f"{login}@{host}:{port}/0"
    if not config.redis.cert:
        return f"redis://{where}", ()
    if not _is_self_signed(Path(config.redis.cert)):
        return f"rediss://{where}", ()
    note = f"{config.redis.cert} is self-signed: copy it to {CERTIFICATE} on the runner's machine."
    return f"rediss://{where}?ssl_ca_certs={quote(CERTIFICATE)}", (note,)


def _is_self_signed(path: Path) -> bool:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CannotStart(f"[redis] cert: {path} cannot be read: {error}") from None
    return certificate.issuer == certificate.subject
