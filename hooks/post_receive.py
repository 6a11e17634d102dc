"""The post-receive hook: its text, and putting it with its settings into a bare repository."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from core.errors import InvalidInput
from core.git import command
from hooks import signatures

MARK = "# pushmill's post-receive hook."
FOLDER = "pushmill"
PUSH_FILES = "*.push"
HOOK = (Path(__file__).parent / "post-receive.sh").read_text(encoding="utf-8")
GIT_LIMIT_S = 10.0
SHA_256 = re.compile(r"^\s*objectformat\s*=\s*\"?sha256\b", re.IGNORECASE | re.MULTILINE)
ONLY_SHA_1 = (
    "which pushmill cannot read yet: make the repository anew by `git init --object-format=sha1` and push to that"
)


def write_settings(repository: Path, url: str, secret: bytes) -> Path:
    """Write what the hook needs beside the refs, for those who may push; the folder of the push files.

    Idempotent. `url` is where deliveries go; of the secret only its HMAC pads are kept.
    """
    shared = repository.stat().st_mode & stat.S_IWGRP  # the group pushes too, each by its own account
    folder = repository / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o2770 if shared else 0o700)
    inner, outer = signatures.pads(secret)
    for name, content in (("ipad", inner), ("opad", outer), ("url", f"{url}\n".encode())):
        _replace(folder / name, content, 0o640 if shared else 0o600)
    return folder


def install(repository: Path, url: str, secret: bytes) -> None:
    """Install the hook in a bare repository that somebody else serves. Idempotent.

    Raises InvalidInput when that is no bare repository that the server can read or has a post-receive hook of its own,
    GitError when git fails.
    """
    if not ((repository / "HEAD").is_file() and (repository / "objects").is_dir()):
        raise InvalidInput(
            f"{repository} is no bare git repository: name the directory that has HEAD and objects in it"
        )
    config = repository / "config"
    if config.exists() and SHA_256.search(config.read_text(encoding="utf-8", errors="replace")):
        raise InvalidInput(f"{repository} names its objects by SHA-256, {ONLY_SHA_1}")
    hook = repository / "hooks" / "post-receive"
    if hook.exists() and MARK not in hook.read_text(encoding="utf-8", errors="replace"):
        raise InvalidInput(
            f"{hook} is a hook of somebody else's: move it away first; to keep both, install and then call the two "
            "from a script that gives each of them the standard input"
        )
    command.run(["config", "receive.advertisePushOptions", "true"], repository=repository, time_limit_s=GIT_LIMIT_S)
    folder = write_settings(repository, url, secret)
    hook.parent.mkdir(exist_ok=True)
    _replace(hook, HOOK.encode(), 0o755)
    _give_to_owner(repository, [folder, *folder.iterdir(), hook, hook.parent, repository / "config"])


def _replace(path: Path, content: bytes, mode: int) -> None:
    if path.exists() and stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == content:
        return
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
    new.replace(path)


def _give_to_owner(repository: Path, paths: list[Path]) -> None:
    """What root installs must be readable for the account that the repository belongs to."""
    owner = repository.stat()
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
