"""The post-receive hook: its text, and its installation with settings in a bare repository."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from core.errors import InvalidInput
from core.files import write_atomically
from core.git import command
from hooks import signatures

MARK = "# pushmill's post-receive hook."
FOLDER = "pushmill"
PUSH_FILES = "*.push"
HOOK = (Path(__file__).parent / "post-receive.sh").read_text(encoding="utf-8")
GIT_LIMIT_S = 10.0
SHA_256 = re.compile(r"^\s*objectformat\s*=\s*\"?sha256\b", re.IGNORECASE | re.MULTILINE)
ONLY_SHA_1 = "which pushmill does not support yet: create the repository again with `git init --object-format=sha1` and push to it"


def write_settings(repository: Path, url: str, secret: bytes) -> Path:
    """Write the hook's settings into the repository and return the folder of the push files. Idempotent.

    The settings are readable for those who may push. `url` is where deliveries go; only the HMAC pads of the secret are
    stored.
    """
    shared = repository.stat().st_mode & stat.S_IWGRP  # the members of the group push too, with their own accounts
    folder = repository / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o2770 if shared else 0o700)
    inner, outer = signatures.compute_hmac_pads(secret)
    for name, content in (("ipad", inner), ("opad", outer), ("url", f"{url}\n".encode())):
        _replace(folder / name, content, 0o640 if shared else 0o600)
    return folder


def install(repository: Path, url: str, secret: bytes) -> None:
    """Install the hook in a bare repository that is served by other software. Idempotent.

    Raises InvalidInput if it is not a bare repository that the server can read or has another post-receive hook,
    GitError if git fails.
    """
    if not ((repository / "HEAD").is_file() and (repository / "objects").is_dir()):
        raise InvalidInput(
            f"{repository} is not a bare git repository: name the directory that contains HEAD and objects"
        )
    config = repository / "config"
    if config.exists() and SHA_256.search(config.read_text(encoding="utf-8", errors="replace")):
        raise InvalidInput(f"{repository} names its objects by SHA-256, {ONLY_SHA_1}")
    hook = repository / "hooks" / "post-receive"
    if hook.exists() and MARK not in hook.read_text(encoding="utf-8", errors="replace"):
        raise InvalidInput(
            f"{hook} was not installed by pushmill: move it away first; to keep both, call them from one "
            "script that passes the standard input to each"
        )
    command.run(["config", "receive.advertisePushOptions", "true"], repository=repository, time_limit_s=GIT_LIMIT_S)
    folder = write_settings(repository, url, secret)
    hook.parent.mkdir(exist_ok=True)
    _replace(hook, HOOK.encode(), 0o755)
    _give_to_owner(repository, [folder, *folder.iterdir(), hook, hook.parent, repository / "config"])


def _replace(path: Path, content: bytes, mode: int) -> None:
    if path.exists() and stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == content:
        return
    write_atomically(path, content, mode)


def _give_to_owner(repository: Path, paths: list[Path]) -> None:
    """Make files installed by root readable for the owner of the repository."""
    owner = repository.stat()
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
