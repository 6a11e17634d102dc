"""Create and read one bare repository."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pygit2
from pygit2.enums import ConfigLevel, FileMode, ObjectType, RepositoryOpenFlag

from core import names
from core.errors import GitError, InvalidInput
from core.files import write_atomically

# as in git, objects are verified on arrival only: verifying them at each read took three quarters of the time
pygit2.settings.enable_strict_hash_verification(False)

PINS = "refs/pushmill/"
BRANCHES, TAGS = "refs/heads/", "refs/tags/"
REPLACED = "\ufffd"
SHA_BEGINNING = re.compile(r"[0-9a-f]{12,64}")
HOSTED_CONFIG = {
    "core.bare": "true",
    "core.logAllRefUpdates": "true",  # for has_pointed_to() and branch_updates()
    "gc.auto": "4096",
    "gc.autoDetach": "true",
    "http.receivepack": "true",
    "receive.advertisePushOptions": "true",
    "receive.autogc": "true",
    "receive.denyNonFastForwards": "false",
    "receive.fsckObjects": "true",
    # harmless defects of old, legitimate histories
    "receive.fsck.badTimezone": "warn",
    "receive.fsck.missingSpaceBeforeDate": "warn",
    "receive.fsck.zeroPaddedFilemode": "warn",
    "transfer.hideRefs": PINS.rstrip("/"),
    "uploadpack.allowAnySHA1InWant": "true",
}
MIRROR_CONFIG = {"core.bare": "true", "http.followRedirects": "false", "transfer.hideRefs": PINS.rstrip("/")}
BANNED_CONFIG = ("core.hooksPath", "core.fsmonitor", "core.sshCommand", "include.path")

# libgit2 must not read the configuration of the account or the machine: url.insteadOf, proxies. It runs nothing that a
# repository configures, so the repository's owner does not matter.
for _level in (ConfigLevel.PROGRAMDATA, ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL):
    pygit2.settings.search_path[_level] = ""
pygit2.settings.owner_validation = False
pygit2.settings.server_connect_timeout = 20_000  # milliseconds
pygit2.settings.server_timeout = 60_000


@dataclass(frozen=True, kw_only=True)
class CommitInfo:
    """A commit. `author` is a name; `committed_at` is `YYYY-MM-DDTHH:MM:SSZ`; undecodable bytes are U+FFFD."""

    sha: str
    message: str
    author: str
    committed_at: str
    parents: tuple[str, ...]


class RefUpdate(NamedTuple):
    """A ref moved from one object to another; zeros stand for no object."""

    ref: str
    before: str
    after: str


def init_hosted(path: Path, hook: str) -> None:
    """Create or repair a bare repository that is pushed to; `hook` becomes its post-receive hook. Idempotent."""
    with as_git_error(path):
        _init(path, HOSTED_CONFIG)
        _install_hook(path / "hooks" / "post-receive", hook)


def init_mirror(path: Path) -> None:
    """Create or repair a bare repository that is fetched into. Idempotent."""
    with as_git_error(path):
        _init(path, MIRROR_CONFIG)


def find_commit(path: Path, name: str, *, pin: bool = False) -> CommitInfo | None:
    """Return the commit that `name` resolves to, with names as in `resolve`; None if there is none.

    `pin` keeps it, whatever happens to the branches, by the ref `refs/pushmill/<sha>`.
    """
    with opened(path) as repository:
        commit = _commit(repository, name)
        if commit is None:
            return None
        sha, author = str(commit.id), commit.author
        if pin:
            with contextlib.suppress(pygit2.AlreadyExistsError):
                repository.references.create(PINS + sha, commit.id)
        return CommitInfo(
            sha=sha,
            message=commit.raw_message.decode("utf-8", "replace"),
            author=(author.raw_name or author.raw_email or b"").decode("utf-8", "replace"),
            committed_at=_time_text(commit.commit_time),
            parents=tuple(str(parent) for parent in commit.parent_ids),
        )


def get_commit(path: Path, name: str) -> CommitInfo:
    """Return the commit like `find_commit`. Raises GitError if there is none."""
    found = find_commit(path, name)
    if found is None:
        raise GitError(f"{path.name} has no commit {name[:200]!r}")
    return found


def resolve(path: Path, ref: str) -> str | None:
    """Return the full sha of the commit that `ref` names; None if there is none.

    `ref` is a full sha, a full ref, HEAD, a branch or a tag, tried in this order. Tags are peeled. git's other ways to
    name a commit (`HEAD~3`, `:/text`) are not accepted.
    """
    with opened(path) as repository:
        commit = _commit(repository, ref)
    return None if commit is None else str(commit.id)


def resolve_beginning(path: Path, digits: str, ref: str) -> str | None:
    """Return the full sha of the commit that begins with `digits`, if it is the tip of `ref` or in its history.

    None if there is none or more than one.
    """
    with opened(path) as repository:
        tip = _commit(repository, ref)
        if tip is None or not SHA_BEGINNING.fullmatch(digits):
            return None
        if str(tip.id).startswith(digits):
            return str(tip.id)
        try:
            found = repository[digits]
        except (pygit2.GitError, ValueError, KeyError):
            return None
        is_older = found.type == ObjectType.COMMIT and repository.descendant_of(tip.id, found.id)
    return str(found.id) if is_older else None


def is_ancestor(path: Path, old: str, new: str) -> bool:
    """Return True if commit `new` is `old` or has it in its history. False also if one of them is missing here."""
    with opened(path) as repository:
        first, second = _commit(repository, old), _commit(repository, new)
        if first is None or second is None:
            return False
        return first.id == second.id or bool(repository.descendant_of(second.id, first.id))


def has_pointed_to(path: Path, ref: str, name: str) -> bool:
    """Return whether `ref` points or pointed to the object `name`: its reflog contains it, or the history of its tip.

    False if the ref does not exist now. U+FFFD in `ref` stands for bytes that are not UTF-8.
    """
    with opened(path) as repository:
        return any(_has_been(repository, found, name) for found in _written_as(repository, ref))


def read_file(path: Path, sha: str, name: str, limit: int) -> bytes | None:
    """Return the content of file `name` (parts joined by `/`) at a commit; None if the file does not exist.

    Raises GitError if it is not a regular file, is larger than `limit` bytes, or the name would leave the repository.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in name:
        raise GitError(f"{name[:200]!r} is not a path inside a repository")
    with opened(path) as repository:
        entry = _entry(resolve_commit(repository, sha).tree, parts, name)
        if entry is None:
            return None
        size = repository.odb.read_header(entry.id)[1]
        if size > limit:
            raise GitError(f"{name} is {size:,} bytes large; at most {limit:,} are read")
        return bytes(repository[entry.id].data)


def to_pinned_ref(ref: str) -> str:
    """Return where a ref that is not a branch or tag is stored: `refs/pull/7/head` at `refs/pushmill/pull/7/head`."""
    return PINS + ref.removeprefix("refs/")


def list_refs(path: Path) -> dict[str, tuple[str, ...]]:
    """Return every branch and tag by full name with the object it points to and, for an annotated tag, also its commit.

    U+FFFD in a name stands for bytes that are not UTF-8.
    """
    with opened(path) as repository:
        return {_decode_name(found): _list_names(found) for found in _list_references(repository, BRANCHES, TAGS)}


def list_branch_updates(path: Path, since: int) -> list[RefUpdate]:
    """Return the updates of existing branches from the second `since` on (since 1970), oldest first.

    They come from the reflog, whose times are whole seconds. Names are decoded as by `list_refs`.
    """
    with opened(path) as repository:
        found = [
            (
                entry.committer.time,
                RefUpdate(ref=_decode_name(branch), before=str(entry.oid_old), after=str(entry.oid_new)),
            )
            for branch in _list_references(repository, BRANCHES)
            for entry in reversed(list(branch.log()))
            if entry.committer.time >= since
        ]
    return [update for _, update in sorted(found, key=itemgetter(0))]


def set_head_to_first_branch(path: Path) -> str | None:
    """Return the branch that HEAD names, if any. If it does not exist, HEAD is set to main, master or the first one.

    libgit2 cannot set HEAD to a branch whose name is not UTF-8: such branches are skipped.
    """
    with opened(path) as repository:
        if repository.head_is_unborn:
            found = _list_references(repository, BRANCHES)
            branches = [branch.name for branch in found if branch.name == _decode_name(branch)]
            preferred = [name for name in ("refs/heads/main", "refs/heads/master") if name in branches]
            for name in [*preferred, *sorted(branches)][:1]:
                repository.set_head(name)
        head = (path / "HEAD").read_text(encoding="utf-8", errors="replace").strip()
    return head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None


def resolve_commit(repository: Any, name: str) -> Any:
    """Return the pygit2.Commit that `name` resolves to. Raises GitError if there is none."""
    commit = _commit(repository, name)
    if commit is None:
        raise GitError(f"the repository has no commit {name[:200]!r}")
    return commit


def check_ref(ref: str) -> str:
    try:
        return names.check_ref(ref)
    except InvalidInput as error:
        raise GitError(str(error)) from None


def check_sha(sha: str) -> str:
    try:
        return names.check_sha(sha)
    except InvalidInput as error:
        raise GitError(str(error)) from None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open the pygit2.Repository at `path` itself, never one in a parent directory, in `as_git_error`."""
    with as_git_error(path):
        yield pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH | RepositoryOpenFlag.BARE)


@contextlib.contextmanager
def as_git_error(path: Path) -> Iterator[None]:
    """Convert errors of libgit2 and the disk to GitError that names the repository."""
    try:
        yield
    except (pygit2.GitError, OSError, ValueError, KeyError) as error:
        raise GitError(f"the repository {path} cannot be used: {error}") from None


def _init(path: Path, settings: dict[str, str]) -> None:
    if not (path / "HEAD").exists():
        pygit2.init_repository(str(path), bare=True, initial_head="main")
    config = pygit2.Config(str(path / "config"))
    wanted: dict[str, list[str]] = {name: [] for name in BANNED_CONFIG}
    wanted |= {name: [value] for name, value in settings.items()}
    for name, values in wanted.items():
        found = list(config.get_multivar(name))
        if found and found != values:
            config.delete_multivar(name, ".*")
        if values and found != values:
            config.set_multivar(name, ".*", values[0])


def _install_hook(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, text.encode(), 0o755)


def _written_as(repository: Any, ref: str) -> list[str]:
    """Return the names of the refs whose decoded name is `ref`."""
    if REPLACED not in ref:
        return [ref] if pygit2.reference_is_valid_name(ref) and ref in repository.references else []
    return [found.name for found in repository.references.iterator() if _decode_name(found) == ref]


def _list_references(repository: Any, *prefixes: str) -> list[Any]:
    """Return the pygit2.Reference of each ref with one of these prefixes, except symbolic ones."""
    return [
        found
        for found in repository.references.iterator()
        if found.name.startswith(prefixes) and not isinstance(found.target, str)
    ]


def _decode_name(reference: Any) -> str:
    """Return a ref's name as everything outside git has it: with U+FFFD for bytes that are not UTF-8."""
    return str(reference.name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _list_names(reference: Any) -> tuple[str, ...]:
    """Return the object that a ref points to and, for an annotated tag, also its commit."""
    names = [str(reference.target)]
    if reference.name.startswith(TAGS):
        with contextlib.suppress(pygit2.GitError, ValueError, KeyError):  # a tag of an object that is not a commit
            names.append(str(reference.peel(ObjectType.COMMIT).id))
    return tuple(dict.fromkeys(names))


def _has_been(repository: Any, ref: str, name: str) -> bool:
    reference = repository.references[ref]
    if str(reference.target) == name:
        return True
    tip, commit = reference.peel(), _commit(repository, name)
    comparable = commit is not None and tip.type == ObjectType.COMMIT
    if comparable and (tip.id == commit.id or repository.descendant_of(tip.id, commit.id)):
        return True
    return any(str(entry.oid_new) == name for entry in reference.log())


def _commit(repository: Any, name: str) -> Any:
    """Return the pygit2.Commit that `name` resolves to, or None."""
    try:
        if names.SHA.fullmatch(name):
            return repository[name].peel(ObjectType.COMMIT)
        for ref in (
            (name,) if name.startswith("refs/") or name == "HEAD" else (f"refs/heads/{name}", f"refs/tags/{name}")
        ):
            if pygit2.reference_is_valid_name(ref) and ref in repository.references:
                return repository.references[ref].peel(ObjectType.COMMIT)
    except (pygit2.GitError, ValueError, KeyError):
        return None  # no such object, a tag of a tree, a dangling ref, a hash that libgit2 does not know
    return None


def _entry(tree: Any, parts: list[str], name: str) -> Any:
    """Return the blob entry of a regular file, None if there is none."""
    for depth, part in enumerate(parts, 1):
        if part not in tree:
            return None
        found = tree[part]
        if found.filemode == FileMode.LINK:
            raise GitError(f"{name} is a symbolic link or is behind one; links are not followed")
        if depth < len(parts):
            if found.filemode != FileMode.TREE:
                return None
            tree = found
        elif found.filemode not in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE):
            raise GitError(f"{name} is a {'directory' if found.filemode == FileMode.TREE else 'submodule'}, not a file")
    return found


def _time_text(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "1970-01-01T00:00:00Z"  # a commit may claim any number
