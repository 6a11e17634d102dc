"""Smart HTTP at /git/<project>.git by `git http-backend`, streamed both ways: packs are never held in memory."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from flask import Blueprint, Response, g, request

from core import git
from core.config import Config
from core.errors import Conflict, Denied, DiskFull, GitError, InvalidInput, NotFound
from core.identity import Identity
from core.model import Project, Repository, Runner
from core.names import UUID
from core.rights import Action
from core.states import State
from web.http import auth
from web.services import disk
from web.services.deliveries import ingest
from web.services.repositories import hosting, lost_pushes
from web.store import executions, projects
from web.store.db import Database, connect

blueprint = Blueprint("githttp", __name__)

READ, WRITE = "git-upload-pack", "git-receive-pack"
CHUNK = 64 * 1024
PIECE, GATHER_MS = 256 * 1024, 2  # parts of a response: sending 20 MB in small pieces took longer than git
ANY_SIZE = 1 << 62
MODULES = ".modules"  # suffix of a project's name: its submodules, for runners
HEADER_BYTES = 16 * 1024
WATCH_S = 1.0  # pause between two checks whether the user of a running push may still push
PROTOCOL = re.compile(r"[a-z0-9=:._-]{1,100}")
FINISH_S = 600.0  # time for git to finish a push that arrived completely before its client disconnected
RESPONSE_HEADERS = {"content-type", "cache-control", "expires", "pragma"}


@blueprint.url_value_preprocessor
def replace_uuid_by_name(_: str | None, values: dict[str, Any] | None) -> None:
    """Let the UUID of a project be its name in all paths below /git/, before anything reads them."""
    if values is None or not UUID.match(values.get("name", "")):
        return
    uuid, suffix = values["name"][:36], values["name"][36:]
    if suffix in ("", MODULES):
        with suppress(NotFound):
            values["name"] = projects.get_by_uuid(auth.get_db(), uuid.lower()).name + suffix


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@blueprint.get("/git/<name>.git/info/refs")
@auth.git
def info_refs(name: str) -> Response:
    """Answer the first request of a fetch or a push; a push creates the project if it does not exist."""
    service = request.args.get("service", "")
    if service not in (READ, WRITE):
        return _refusal("Only git's smart protocol is served here.", 404)
    return _serve(name, service, "info/refs")


@blueprint.post("/git/<name>.git/git-upload-pack")
@auth.git
def upload_pack(name: str) -> Response:
    return _serve(name, READ, READ)


@blueprint.post("/git/<name>.git/git-receive-pack")
@auth.git
def receive_pack(name: str) -> Response:
    return _serve(name, WRITE, WRITE)


def _serve(name: str, service: str, endpoint: str) -> Response:
    try:
        project, repository = _opened(auth.get_db(), name, service)
    except NotFound as error:
        return _refusal(str(error), 404)
    except InvalidInput as error:
        return _refusal(str(error), 400)
    except Conflict as error:
        return _refusal(str(error), 403)
    except DiskFull as error:
        return _refusal(f"{error}.", 507)
    request.max_content_length = ANY_SIZE  # None would mean the application's default
    note = lost_pushes.mark_push_started(auth.get_server().config, repository) if endpoint == WRITE else None
    backend = Backend(
        _environment(name, project, repository, service, endpoint),
        _body(project, endpoint) if request.method == "POST" else None,
        note,
    )
    status, headers = backend.head()
    response = Response(backend.output(), status, headers)
    response.call_on_close(backend.close)
    if note is not None:
        response.call_on_close(_after_push(repository, note))
    return response


def _body(project: Project, endpoint: str) -> Readable:
    if endpoint == WRITE:
        return WatchedPush(request.stream, auth.get_server().config, auth.get_current_identity(), project.id)
    return request.stream


class WatchedPush:
    """The body of a push. Reading it raises Denied soon after its user was disabled or lost the right to push.

    It looks after reading, which may take as long as the client likes: git moves refs when it gets the last byte.
    """

    def __init__(self, body: Readable, config: Config, identity: Identity, project_id: int) -> None:
        self._body, self._config, self._identity, self._project_id = body, config, identity, project_id
        self._next = time.monotonic() + WATCH_S

    def read(self, size: int) -> bytes:
        data = self._body.read(size)
        if time.monotonic() >= self._next:
            with closing(connect(self._config.database)) as db:
                if not auth.is_valid(db, self._identity, Action.PUSH, self._project_id):
                    raise Denied("This user may no longer push.")
            self._next = time.monotonic() + WATCH_S
        return data


def _opened(db: Database, name: str, service: str) -> tuple[Project, Repository]:
    """Return a project and its repository, created on a user's first push. NotFound if the client may not see it."""
    server = auth.get_server()
    if service == WRITE:
        disk.check(server.config, 0)
    runner: Runner | None = g.runner
    if runner is not None:
        project = projects.get_by_name(db, name.removesuffix(MODULES))
        held = [e for e in executions.list_in_states(db, State.STARTED) if e.project_id == project.id]
        if service != READ or not any(execution.runner_id == runner.id for execution in held):
            raise NotFound("A runner may only fetch from a project while it runs an execution of it.")
        return project, hosting.get_repository(db, project)
    if service == WRITE:
        project = hosting.ensure_project(auth.get_context(), name, auth.get_current_user().id)
        auth.enter(project.id, auth.explain_invisible_project(name))  # another user may have created it meanwhile
    else:
        project = projects.get_by_name(db, name)
    repository = hosting.get_repository(db, project)
    if repository.forge == projects.HOSTED:
        if request.method == "GET" or not hosting.get_repository_path(server.config, repository).exists():
            hosting.prepare(auth.get_context(), project, repository)
    elif service == WRITE:
        raise Conflict(f"Project {name} is fetched from {repository.forge}: push there.")
    return project, repository


def _after_push(repository: Repository, note: IO[bytes]) -> Callable[[], None]:
    """Return a callback for moved refs: it sets HEAD and ingests the push, even if the hook could not report it."""
    context, queues = auth.get_context(), auth.get_server().queues

    def finish() -> None:
        with suppress(GitError):
            git.set_head_to_first_branch(hosting.get_repository_path(context.config, repository))
        ingest.collect_push_files_of(context, repository)
        Path(note.name).unlink(missing_ok=True)
        note.close()
        queues.nudge_soon()

    return finish


def _environment(name: str, project: Project, repository: Repository, service: str, endpoint: str) -> dict[str, str]:
    """Return the whole environment of the child and its hook: nothing from ours, no git config of this machine."""
    config, for_modules = auth.get_server().config, g.runner is not None and name.endswith(MODULES)
    path = (
        hosting.get_modules_path(config, repository) if for_modules else hosting.get_repository_path(config, repository)
    )
    settings = _settings(config, path, service)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": str(len(settings)),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROJECT_ROOT": os.path.realpath(config.git_dir),
        "GIT_TERMINAL_PROMPT": "0",
        "PATH_INFO": f"/{path.name}/{endpoint}",
        "QUERY_STRING": f"service={service}" if endpoint == "info/refs" else "",
        "REQUEST_METHOD": request.method,
        "REMOTE_ADDR": request.remote_addr or "",
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
    }
    for number, (key, value) in enumerate(settings):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    if PROTOCOL.fullmatch(protocol := request.headers.get("Git-Protocol", "")):
        environment["GIT_PROTOCOL"] = protocol
    # No CONTENT_LENGTH: without it the child reads to the end. With it, the child would loop forever if the body
    # ended early, which happens when this process is killed, and when a GET has one.
    if request.headers.get("Content-Encoding") in ("gzip", "x-gzip"):
        environment["HTTP_CONTENT_ENCODING"] = "gzip"
    if service == WRITE:
        pusher = auth.get_current_user().username
        base = config.server.url or request.url_root
        hook_url = config.local_url + hosting.get_webhook_path(project, repository.forge)
        environment |= {"REMOTE_USER": pusher, "PUSHMILL_PUSHER": pusher}
        environment |= {"PUSHMILL_BASE_URL": base.rstrip("/"), "PUSHMILL_HOOK_URL": hook_url}
    return environment


def _settings(config: Config, path: Path, service: str) -> list[tuple[str, str]]:
    """Return git's configuration for the child."""
    settings = [("safe.directory", os.path.realpath(path)), ("uploadpack.allowAnySHA1InWant", "true")]
    if g.runner is not None:  # a runner fetches its commit by hash; other refs are hidden from it
        settings += [("uploadpack.hideRefs", "refs"), ("uploadpack.hideRefs", "HEAD")]
        settings.append(("core.bigFileThreshold", "64k"))  # no search for deltas of data, which takes seconds for 20 MB
    if service == WRITE:
        settings.append(("receive.maxInputSize", str(max(1, disk.compute_available_bytes(config)))))
    return settings


class Backend:
    """One `git http-backend` process. A thread writes `body` to it while its output is read.

    It is killed when the client disconnects, unless it is a push (`note` is given): a push that arrived completely
    moves refs, and its hook must be able to record that; the feeder thread kills it if the push is incomplete.
    """

    def __init__(self, environment: dict[str, str], body: Readable | None, note: IO[bytes] | None) -> None:
        self._finishes = note is not None
        self._ended = False
        self._rest = b""
        self._process = subprocess.Popen(
            ["git", "http-backend"],
            env=environment,
            stdin=subprocess.DEVNULL if body is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=() if note is None else (note.fileno(),),  # its lock is held as long as git runs
            start_new_session=True,
        )
        self._more = select.poll()
        self._more.register(self._output(), select.POLLIN)
        self._feeder = threading.Thread(target=self._feed, args=(body, self._process.stdin), daemon=True)
        self._feeder.start()

    def head(self) -> tuple[int, list[tuple[str, str]]]:
        """Return status and headers of the child's response; 500 if it sends no valid head."""
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEADER_BYTES:
            chunk = self._read()
            if not chunk:
                return 500, [("Content-Type", "text/plain")]
            head += chunk
        lines, _, self._rest = head.partition(b"\r\n\r\n")
        status, headers = 200, []
        for line in lines.decode("latin-1").split("\r\n"):
            key, _, value = line.partition(": ")
            if key.lower() == "status" and value[:3].isdecimal():
                status = int(value[:3])
            elif key.lower() in RESPONSE_HEADERS:
                headers.append((key, value))
        return status, headers

    def output(self) -> Iterator[bytes]:
        """Yield the body of the child's response as it is produced."""
        if self._rest:
            yield self._rest
        while chunk := self._read():
            yield chunk

    def close(self) -> None:
        """Leave no process or thread running, whether or not the response was sent completely."""
        if not self._ended and self._finishes:
            killer = threading.Timer(FINISH_S, self._kill)
            killer.start()
            while self._read():
                continue
            killer.cancel()
        elif not self._ended:
            self._kill()
        self._process.wait()
        self._feeder.join(FINISH_S)
        self._output().close()

    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101  (opened as a pipe)
        return self._process.stdout

    def _read(self) -> bytes:
        """Return the next part of the output, b"" at its end. Git writes 8 KiB at a time: they are joined."""
        output = self._output().fileno()
        parts = [os.read(output, PIECE)]
        left = PIECE - len(parts[0])
        while parts[-1] and left and self._more.poll(GATHER_MS):
            parts.append(os.read(output, left))
            left -= len(parts[-1])
        self._ended = not parts[-1]
        return b"".join(parts)

    def _feed(self, body: Readable | None, stdin: IO[bytes] | None) -> None:
        """Write the body to the child. Reads all of it, or the client would not see a response sent early."""
        if body is None or stdin is None:
            return
        wanted = True
        try:
            while chunk := body.read(CHUNK):
                wanted = wanted and _write(stdin, chunk)
        except Exception:  # noqa: BLE001  the client disconnected; each server raises its own exceptions
            self._kill()
        with suppress(BrokenPipeError):
            stdin.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _write(stdin: IO[bytes], chunk: bytes) -> bool:
    try:
        stdin.write(chunk)
    except BrokenPipeError:
        return False
    return True


def _refusal(sentence: str, status: int) -> Response:
    """Return a plain text response, which git shows to its user."""
    return Response(f"{sentence}\n", status, mimetype="text/plain")
