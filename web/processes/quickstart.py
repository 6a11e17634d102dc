"""The first push: create a project from the example, push it with git to this server, and show its log."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from core.errors import PushmillError
from core.states import FINAL
from core.text import make_printable

PROJECT = "quickstart"
FIRST_EXECUTION_S = 60.0  # time from the push to its first execution
POLL_S = 0.3

Say = Callable[[str], None]


class QuickstartFailed(PushmillError):
    """Raised when the example cannot be pushed; the rest of the server keeps running."""


class ServerApi:
    """A client of the server's own HTTP API, like any other client."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        # connect directly to this machine, whatever proxy the environment names
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> Any:
        return self._ask(urllib.request.Request(self._absolute(path)))  # noqa: S310  http, by construction

    def _absolute(self, path: str) -> str:
        return f"{self.url}{urllib.parse.urlsplit(path).path}" + (f"?{query}" if (query := _query(path)) else "")

    def _ask(self, request: urllib.request.Request) -> Any:
        request.add_header("Authorization", f"Token {self.token}")
        try:
            with self._opener.open(request, timeout=30) as response:
                return json.load(response)
        except (OSError, ValueError) as error:
            raise QuickstartFailed(f"{request.get_method()} {request.full_url}: {error}") from None


def was_pushed(data: Path) -> bool:
    """Return True once the example's repository has recorded that the server has its branch."""
    return (data / PROJECT / ".git" / "refs" / "remotes" / "origin" / "main").exists()


def run_tour(data: Path, api: ServerApi, example: Path, say: Say) -> None:
    """Build the image, push the example, which creates the project, and follow the first execution to its end."""
    known = _project(api)
    if known and api.get(f"/api/v0/commits/?project={known['id']}&limit=1")["results"]:
        return  # pushed before, from whatever repository: nothing to show
    say(f"\nThe first push: {example} as the project {PROJECT}")
    began = time.monotonic()
    build_image(example)
    say(f"  {'image':<10}{'pushmill-quickstart':<56} {time.monotonic() - began:6.2f} s")
    began = time.monotonic()
    repository = data / PROJECT
    push(example, repository, api, _push_token(data) or api.token, say)
    say(f"  {'git push':<10}{f'{api.url}/git/{PROJECT}.git':<56} {time.monotonic() - began:6.2f} s")
    execution = await_execution(api)
    follow(api, execution, say)
    say(f"  the project   {api.url}/p/{PROJECT}/")
    say(f"  your turn     cd {repository}; change valohai.yaml or train.py; git commit -am 'Try this'; git push")


def build_image(example: Path) -> None:
    script = example / "image.sh"
    if script.exists() and subprocess.run(["sh", str(script)], check=False).returncode != 0:
        raise QuickstartFailed(
            f"the image of the example could not be built (see above); run `sh {script}` to try again, "
            "the next start then pushes the example"
        )


def push(example: Path, repository: Path, api: ServerApi, token: str, say: Say) -> None:
    """Commit a copy of `example` in `repository` and push it with `token`. Completes an interrupted copy."""
    shutil.copytree(example, repository, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    repository.chmod(0o700)
    run_git(repository, "init", "--quiet")
    run_git(repository, "symbolic-ref", "HEAD", "refs/heads/main")
    secret = f"//admin:{token}@".join(api.url.split("//", 1))
    settings = {
        "user.name": "admin",
        "user.email": "admin@localhost",
        "remote.origin.url": f"{secret}/git/{PROJECT}.git",
        "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*",
        "branch.main.remote": "origin",
        "branch.main.merge": "refs/heads/main",
        "http.proxy": "",  # the server is on this machine
    }
    (repository / ".git" / "config").chmod(0o600)
    for name, value in settings.items():
        run_git(repository, "config", name, value)
    run_git(repository, "add", "--all")
    if run_git(repository, "status", "--porcelain"):
        run_git(repository, "commit", "--quiet", "--message", "Train a small network on two spirals")
    for line in run_git(repository, "push", "origin", "main").splitlines():
        say(f"  {line.replace(token, '…').rstrip()}")


def run_git(repository: Path, *arguments: str) -> str:
    """Run git in `repository`, without the user's and the machine's git configuration; return its output."""
    own = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments],
            env={**foreign, **own, "HOME": str(repository.parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise QuickstartFailed("git is missing: install it; the next start pushes the example") from None
    if done.returncode != 0:
        output = re.sub(r"//[^/@\s]*@", "//…@", done.stdout).strip().replace("\n", "; ")[-500:]
        raise QuickstartFailed(f"git {arguments[0]} of the example failed: {output}")
    return done.stdout


def await_execution(api: ServerApi) -> dict[str, Any]:
    """Wait for the first execution of the pushed project and return it."""
    deadline = time.monotonic() + FIRST_EXECUTION_S
    while time.monotonic() < deadline:
        results = api.get(f"/api/v0/executions/?project={PROJECT}&ordering=counter&limit=1")["results"]
        if results:
            first: dict[str, Any] = results[0]
            return first
        time.sleep(POLL_S)
    raise QuickstartFailed(
        f"the push has created no execution within {FIRST_EXECUTION_S:g} s; its page says why: {api.url}/p/{PROJECT}/"
    )


def follow(api: ServerApi, execution: dict[str, Any], say: Say) -> None:
    """Print the log lines of an execution as they arrive, and its result."""
    say(f"  execution #{execution['counter']} ({execution['step']})  {execution['urls']['display']}")
    shown = 0
    while True:
        now = api.get(execution["url"])  # before the log: if this state is final, the log has all its lines
        events = api.get(f"{execution['url']}events/?limit=0")["events"]
        for event in events[shown:]:
            say(f"  {event['stream'][:6]:>6} │ {make_printable(event['message'], ' ')}")
        shown = len(events)
        if now["status"] in FINAL:
            break
        time.sleep(POLL_S)
    took = f" after {now['duration']:.1f} s" if now.get("duration") is not None else ""
    values = ", ".join(f"{name} {value}" for name, value in (now.get("cumulative_metadata") or {}).items())
    say(f"  result        #{now['counter']} {now['status']}{took}{f': {values}' if values else ''}")


def _push_token(data: Path) -> str:
    """Return the push-only token; "" if the data comes from a version that created none."""
    try:
        return (data / "push-token").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _project(api: ServerApi) -> dict[str, Any] | None:
    listed = api.get("/api/v0/projects/?limit=1000")["results"]
    return next((project for project in listed if project["name"] == PROJECT), None)


def _query(path: str) -> str:
    return urllib.parse.urlsplit(path).query


@click.command("quickstart", hidden=True)
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--url", required=True)
@click.argument("example", type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(data: Path, url: str, example: Path) -> None:
    """Push the example to the running server.

    `pushmill up` starts this.
    """
    try:
        token = (data / "admin-token").read_text(encoding="utf-8").strip()
    except OSError as error:
        raise QuickstartFailed(f"the example was not pushed: {error}") from None
    run_tour(data, ServerApi(url, token), example, lambda line: print(line, flush=True))
