"""Prepare the data directory when the server starts: the database, the admin and the runner of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.config import Config
from core.errors import ConfigError
from core.files import write_atomically
from core.identity import Scope
from core.names import RUNNER
from web.services import vault
from web.services.context import Context, open_context
from web.services.executions import environments
from web.services.repositories import git_logins
from web.store import runners, users
from web.store.db import Database, transaction
from web.store.schema import migrate

ADMIN = "admin"
PUSH_TOKEN = "push-token"  # file in the data directory  # noqa: S105


def prepare(config: Config, say: Callable[[str], None] = lambda _: None) -> str | None:
    """Create or upgrade the data directory; `say` reports an upgrade. Idempotent; may be killed at any moment.

    Return the admin's token on the very first start, and None later.
    """
    for folder in (config.data, config.git_dir, config.logs_dir, config.outputs_dir, config.runner_dir):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_context(config, vault.load(config.data / "secret.key")) as context:
        config.database.chmod(0o600)
        migrate(context.db, config.database, say)
        git_logins.split_logins(context)
        token = _admin(context.db, config.data)
        _runner(context)
    return token


def _admin(db: Database, data: Path) -> str | None:
    """Create the first user with two tokens: an unrestricted one, and one that may only push, for URLs of remotes."""
    if users.find_by_name(db, ADMIN) is not None:
        return None
    token, push_token = users.make_token(), users.make_token()
    with transaction(db):
        admin = users.add(db, ADMIN, is_admin=True)
        users.add_token(db, admin.id, token, "first start")
        users.add_token(db, admin.id, push_token, "first start, to push", [Scope.PUSH])
        write_secret(data / "admin-token", token)  # inside: a full disk leaves no admin without a token
        write_secret(data / PUSH_TOKEN, push_token)
    return token


def _runner(context: Context) -> None:
    """Register this machine's runner under its configured name; a lost token file is created again."""
    db, config = context.db, context.config
    name, path = config.runner.name, config.runner_dir / "token"
    if not RUNNER.fullmatch(name):
        raise ConfigError(f"[runner] name {name!r}: use letters, digits, '-' and '_'")
    known = runners.find_by_name(db, name)
    if known is not None:  # the configuration decides about its slots
        runners.set_limits(db, known.id, config.runner.slots, known.projects)
    if (
        known is not None
        and path.exists()
        and runners.find_by_token(db, path.read_text(encoding="utf-8").strip()) == known
    ):
        return
    token = users.make_token()
    with transaction(db):
        if known is None:
            runner_id = runners.add(db, name, token, [environments.DEFAULT])
            runners.set_limits(db, runner_id, config.runner.slots, ())
        else:
            runners.set_token(db, known.id, token)
        write_secret(path, token)


def write_secret(path: Path, text: str) -> None:
    """Write a file with mode 0600 atomically."""
    write_atomically(path, f"{text}\n".encode(), sync=True)
