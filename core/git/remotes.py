"""Fetch with the git binary: libgit2 follows redirects on the same host regardless of its settings."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin

from core import locks, names
from core.errors import GitDenied, GitError, InvalidInput
from core.git import command
from core.git.repository import PINS, as_git_error, check_ref, check_sha, resolve, to_pinned_ref
from core.git.url import RemoteUrl
from core.git.url import parse as parse_url

MIRRORED = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
TOKEN_USER = "x-access-token"  # noqa: S105  forges check only the token; GitHub documents this name for it
FETCH_LIMIT_S = 1800.0
LISTING_LIMIT_S = 60.0
MAX_REFS = 10_000  # listed per remote
LISTING_BYTES = 2 * MAX_REFS * 1200  # an annotated tag has two lines, and a ref's name at most 1,024 characters
LOGIN_BYTES = 64 * 1024
REPACK_LIMIT_S = 600.0
MANY_PACKS = 50  # each fetch adds one
STALE_LOCK_S = 60.0
PARTIAL_PACKS = ("tmp_", "pack_git2_")  # prefixes of partial packs of git, and of libgit2, which earlier versions used
KNOWN_HOSTS = "known_hosts"  # next to the repositories
MOVED_LIMIT_S = 10.0  # time limit for asking a remote where it has moved
TRACE_BYTES = 65_536
LOCATION = re.compile(r"header:? location: (\S+)", re.IGNORECASE)
PLACE = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}/[A-Za-z0-9._~/+-]{1,500}")  # people copy it to a shell
TOKEN_CHARS = 16  # no forge makes shorter tokens
REF_MISSING = "couldn't find remote ref"
DENIED = ("terminal prompts disabled", "Authentication failed", "' not found", "returned error: 403")


@dataclass(frozen=True, kw_only=True)
class Login:
    """Credentials of a remote: a key for ssh, user and password for http."""

    ssh_key: bytes | None = None
    user: str = TOKEN_USER
    password: str | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteSource:
    """A remote, its credentials, and the deadline (time.monotonic) of its commands."""

    remote: RemoteUrl
    username: str
    password: str
    ssh_key: bytes | None
    deadline: float


def fetch(path: Path, source: RemoteSource, *, shas: Sequence[str] = (), more: Sequence[str] = ()) -> None:
    """Make the branches and tags of a mirror equal to those of the remote, including forced updates and deletions.

    The refs `more` are also fetched, to `pinned(ref)`. Commits `shas` that came with no ref are fetched by name and
    pinned. A ref or commit that the remote does not provide is not an error: check with `resolve`. Redirects are not
    followed. Raises GitError; its text contains no credentials.
    """
    wanted, refspecs = [check_sha(sha) for sha in shas], [f"+{check_ref(ref)}:{to_pinned_ref(ref)}" for ref in more]
    with one_writer(path), errors_about(source):
        _fetch_refs(path, source, refspecs)
        for sha in wanted:
            if resolve(path, sha) is None:
                with contextlib.suppress(GitError):
                    fetch_refspecs(path, source, [], [f"+{sha}:{PINS}{sha}"])
        _join_packs(path)


def _fetch_refs(path: Path, source: RemoteSource, more: Sequence[str]) -> None:
    """Fetch branches, tags and the refspecs `more`: in one request if the remote has them all."""
    update = ["--prune", "--force"]
    try:
        fetch_refspecs(path, source, update, [*MIRRORED, *more])
    except GitError as error:
        if REF_MISSING not in str(error):
            raise
        fetch_refspecs(path, source, update, MIRRORED)
        for refspec in more:
            with contextlib.suppress(GitError):
                fetch_refspecs(path, source, [], [refspec])


def fetch_fork(path: Path, url: str, sha: str, *, allow_http: bool) -> None:
    """Fetch one commit of a fork, with its history, and pin it. Raises GitError."""
    source = make_fork_source(url, allow_http=allow_http, time_limit_s=FETCH_LIMIT_S)
    with one_writer(path), errors_about(source):
        fetch_refspecs(path, source, [], [f"+{check_sha(sha)}:{PINS}{sha}"])
        _join_packs(path)


def make_fork_source(url: str, *, allow_http: bool, time_limit_s: float) -> RemoteSource:
    """Return the remote of a fork. Raises GitError.

    Only http(s) without credentials is allowed: over ssh, the server's own keys would be used.
    """
    remote = parse_url(url, allow_local=False, allow_http=allow_http)
    if remote.scheme == "ssh" or remote.username or remote.password:
        raise GitError(f"{remote.address}: a fork is fetched over https and without credentials")
    return RemoteSource(remote=remote, username="", password="", ssh_key=None, deadline=time.monotonic() + time_limit_s)


def make_remote_source(
    url: str, login: Login | None = None, *, allow_local: bool, allow_http: bool, time_limit_s: float = FETCH_LIMIT_S
) -> RemoteSource:
    """Return the remote at a URL with its credentials. A user name in an https URL precedes that of the login.

    Raises GitError.
    """
    remote, login = parse_url(url, allow_local=allow_local, allow_http=allow_http), login or Login()
    return RemoteSource(
        remote=remote,
        username=remote.username or login.user,
        password=login.password or remote.password or "",
        ssh_key=login.ssh_key,
        deadline=time.monotonic() + time_limit_s,
    )


def fetch_lfs_login(path: Path, source: RemoteSource) -> tuple[str, dict[str, str]]:
    """Return the Git LFS server of a remote that is reached by ssh, "" for the usual one, and the headers it requires.

    Forges answer `git-lfs-authenticate` with short-lived credentials. Raises GitError if a host does not.
    """
    place, remote_path = source.remote.ssh_place
    with errors_about(source), _environment(path, source) as environment:
        printed = command.run_ssh(
            place,
            f"git-lfs-authenticate {shlex.quote(remote_path)} download",
            environment=environment,
            time_limit_s=min(LISTING_LIMIT_S, max(1.0, source.deadline - time.monotonic())),
            limit=LOGIN_BYTES,
        )
        try:
            found = json.loads(printed)
            return str(found.get("href") or ""), {str(name): str(value) for name, value in found["header"].items()}
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise GitError("git-lfs-authenticate did not print credentials") from None


def list_remote_refs(path: Path, source: RemoteSource) -> dict[str, tuple[str, ...]]:
    """List the branches and tags of a remote by full name; nothing is fetched, and the mirror need not exist yet.

    Each value is the object that the ref points to and, for an annotated tag, the commit behind it. Refs with names
    that are not allowed here are omitted. Raises GitError as `fetch` does, and for more than MAX_REFS.
    """
    with errors_about(source), _environment(path, source) as environment:
        printed = command.run(
            ["ls-remote", "--quiet", "--heads", "--tags", "--", source.remote.address],
            repository=path,
            time_limit_s=max(1.0, source.deadline - time.monotonic()),
            environment=environment,
            streams=command.capture_output(LISTING_BYTES),
        )
        return _listed(printed)


def _listed(printed: bytes) -> dict[str, tuple[str, ...]]:
    """Parse the output of `git ls-remote`: lines of sha, tab and ref; `^{}` after a tag marks the commit behind it."""
    found: dict[str, tuple[str, ...]] = {}
    for line in printed.decode("utf-8", "replace").split("\n"):
        sha, _, ref = line.partition("\t")
        with contextlib.suppress(InvalidInput):
            ref = names.check_ref(ref.removesuffix("^{}"))
            found[ref] = (*found.get(ref, ()), names.check_sha(sha))
    if len(found) > MAX_REFS:
        raise GitError(f"it has {len(found):,} branches and tags; at most {MAX_REFS:,} are supported")
    return found


def fetch_commit(path: Path, url: str, sha: str, *, username: str, password: str) -> None:
    """Fetch one commit, without its history, from a pushmill server and pin it; do nothing if it exists.

    Over loopback it takes 31 ms.
    """
    ref = PINS + check_sha(sha)
    source = RemoteSource(
        remote=parse_url(url, allow_local=False, allow_http=True),
        username=username,
        password=password,
        ssh_key=None,
        deadline=time.monotonic() + FETCH_LIMIT_S,
    )
    with one_writer(path), errors_about(source):
        if resolve(path, ref) is None:  # the ref is written last: if it exists, the commit is complete
            fetch_refspecs(path, source, ["--depth=1"], [f"+{sha}:{ref}"], one_pack=True)
            _join_packs(path)


def fetch_refspecs(
    path: Path,
    source: RemoteSource,
    options: Sequence[str],
    refspecs: Sequence[str],
    *,
    file_limit: int | None = None,
    one_pack: bool = False,
) -> None:
    """Fetch refspecs with the git binary. With `file_limit` everything is one file of at most that many bytes.

    With `one_pack`, what arrives is stored as it is, not decompressed into one file for each object.

    Uses protocol 2, which can fetch a commit by name from a server that shows no refs, such as pushmill to runners.
    """
    quiet = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"]
    storing = ["-c", "fetch.unpackLimit=1"] if one_pack or file_limit is not None else []
    with _environment(path, source) as environment:
        command.run(
            ["-c", "protocol.version=2", *storing, "fetch", *quiet, *options, "--", source.remote.address, *refspecs],
            repository=path,
            time_limit_s=max(1.0, source.deadline - time.monotonic()),
            environment=environment,
            file_limit=file_limit,
        )


@contextlib.contextmanager
def _environment(path: Path, source: RemoteSource) -> Iterator[dict[str, str]]:
    allowed = command.allow_transport(source.remote.scheme)
    if source.remote.scheme == "ssh":
        with command.ssh_environment(source.ssh_key, path.absolute().parent / KNOWN_HOSTS) as environment:
            yield environment | allowed
    elif source.password and source.remote.scheme != "file":
        yield command.make_basic_auth(source.username, source.password) | allowed
    else:
        yield allowed


@contextlib.contextmanager
def errors_about(source: RemoteSource) -> Iterator[None]:
    """Add the remote to the errors raised inside, and remove secrets from them."""
    try:
        yield
    except GitError as error:
        text = _masked(str(error), source)
        denied = source.remote.scheme in ("https", "http") and any(words in text for words in DENIED)
        kind = GitDenied if denied else type(error)
        raise kind(f"{source.remote.address}: {text}{_way_out(text, source)}") from None


def _masked(text: str, source: RemoteSource) -> str:
    """Return `text` without the credentials, in all forms in which a remote may send them back.

    Some forges accept a token as the user name. Ordinary names are shorter and are kept: they are part of many
    addresses.
    """
    pair = command.make_basic_auth(source.username, source.password)["GIT_CONFIG_VALUE_0"].rpartition(" ")[2]
    words = {source.password, source.remote.password or ""}
    words |= {name for name in (source.username, source.remote.username or "") if len(name) >= TOKEN_CHARS}
    for secret in sorted(filter(None, {pair, *words, *map(quote, words)}), key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def _way_out(text: str, source: RemoteSource) -> str:
    """Return advice for errors that git's own message does not explain."""
    host = source.remote.host
    if "Host key verification failed" in text:
        return (
            f"; {host} shows another host key than before: ask its administrator; if the change is right, remove its line"
            f" from {KNOWN_HOSTS} in the folder of the repositories (git/ in the data directory)"
        )
    if "Permission denied (publickey" in text:
        return "; enter the project's deploy key there: `pushmill project deploy-key NAME` prints it"
    if "returned error: 30" in text:
        place = _moved_to(source)
        to = f" to {place}" if place else ""
        return f"; it has moved{to}, and redirects are not followed: `pushmill project set-url NAME {place or 'URL'}`"
    return ""


def _moved_to(source: RemoteSource) -> str:
    """Return the target of the remote's redirect; "" if it is unknown or not a plain address.

    git shows it only in its trace of the headers, where it hides the credentials.
    """
    with tempfile.TemporaryDirectory(prefix="pushmill-trace-") as directory:
        trace = Path(directory, "headers")
        traced = {"GIT_TRACE_CURL": str(trace), "GIT_TRACE_CURL_NO_DATA": "1"}
        with contextlib.suppress(GitError), _environment(trace, source) as environment:
            command.run(
                ["ls-remote", "--quiet", "--heads", "--", source.remote.address],
                repository=Path(directory),
                time_limit_s=MOVED_LIMIT_S,
                environment=environment | traced,
            )
        with contextlib.suppress(OSError), open(trace, "rb") as file:
            if found := LOCATION.search(file.read(TRACE_BYTES).decode("utf-8", "replace")):
                place = urljoin(f"{source.remote.address}/", found.group(1)).partition("/info/refs")[0]
                place = _masked(place, source)
                return place if PLACE.fullmatch(place) else ""
    return ""


@contextlib.contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """Like `locked`, for a repository that has no other writers: also remove partial packs."""
    with locked(path):
        remove_partial_packs(path)
        yield


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Allow one of our writers in a repository at a time, across processes; the lock is released when it dies."""
    with as_git_error(path), open(path / "pushmill.lock", "ab") as lock:
        locks.take(lock.fileno())
        _remove_stale_locks(path)
        yield


def remove_partial_packs(path: Path) -> None:
    """Delete partial packs of killed or aborted fetches. Call only while nothing else writes to the repository."""
    for file in _partial_packs(path):
        file.unlink(missing_ok=True)


def measure_largest_partial_pack(path: Path) -> int:
    """Return the size of the largest partial pack in bytes."""
    return max((file.stat().st_size for file in _partial_packs(path)), default=0)


def _partial_packs(path: Path) -> list[Path]:
    return [file for prefix in PARTIAL_PACKS for file in (path / "objects" / "pack").glob(f"{prefix}*")]


def _remove_stale_locks(path: Path) -> None:
    """Delete lock files of killed fetches, which would make every later fetch fail."""
    (path / "shallow.lock").unlink(missing_ok=True)  # held for a whole fetch, and no other fetch runs now
    oldest = time.time() - STALE_LOCK_S
    locks = [path / name for name in ("packed-refs.lock", "HEAD.lock", "config.lock")]
    for directory, _, files in os.walk(path / "refs"):
        locks += [Path(directory, name) for name in files if name.endswith(".lock")]
    for lock in locks:
        with contextlib.suppress(FileNotFoundError):
            if lock.stat().st_mtime < oldest:
                lock.unlink()


def _join_packs(path: Path) -> None:
    packs = sum(name.endswith(".pack") for name in os.listdir(path / "objects" / "pack"))
    if packs > MANY_PACKS:
        command.run(["repack", "--geometric=2", "-d", "-q"], repository=path, time_limit_s=REPACK_LIMIT_S)
        command.run(["pack-refs", "--all"], repository=path, time_limit_s=REPACK_LIMIT_S)
