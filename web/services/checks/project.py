"""Check everything between a push of a project and its executions."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from core import git
from core.errors import ForgeError, PushmillError
from core.units import format_duration
from hooks.apis.base import URL_CHARS
from hooks.apis.client import Client
from web.config.steps.model import map_step_items
from web.services.checks import webhook
from web.services.checks.finding import Finding
from web.services.checks.subject import Subject, make_finding
from web.services.forges import webhook_setup
from web.services.repositories import commit_head, credentials, hosting, polling, remotes
from web.services.repositories.commit_head import CommitMissing, Head
from web.services.repositories.credentials import Access
from web.store import projects

SHOWN_STEPS = 5
LISTING_S = 10.0  # time for a remote to list its refs
LACKING = "needs a token"
SET_URL = "`pushmill project set-url` changes its address"


def examine(subject: Subject) -> Iterator[Finding]:
    """Yield all findings, in the order in which a push needs them. Posts a test status on the newest commit."""
    yield _fetched(subject)
    access = credentials.load_access(subject.context, subject.repository)
    if access is None:
        yield from _without_token(subject)
    else:
        with access.client(subject.deadline) as client:
            yield from _with_token(subject, access, client)
    if not subject.hosted:
        yield webhook.check_last_delivery(subject)


def _without_token(subject: Subject) -> Iterator[Finding]:
    takes_token = credentials.has_forge_api(subject.repository)
    if takes_token:
        yield _no_token(subject)
    yield _configuration(subject, subject.repository.default_branch)[0]
    if takes_token:
        yield Finding(check="status", level="skip", message=LACKING)
    if subject.is_on_forge:
        yield _server_url(subject)
    if takes_token:
        yield Finding(check="webhook", level="skip", message=LACKING)


def _with_token(subject: Subject, access: Access, client: Client) -> Iterator[Finding]:
    found, branch = _token(access, client, subject.repository.default_branch)
    yield found
    found, head = _configuration(subject, branch)
    yield found
    if head:
        yield _status(subject, access, client, head, branch)
    else:
        yield Finding(check="status", level="skip", message="needs a commit to post on")
    if subject.project.comments:
        yield _comments(access, client)
    yield _server_url(subject)
    yield from webhook.check(subject, access, client, head)


def _fetched(subject: Subject) -> Finding:
    name, repository = "repository", subject.repository
    if subject.hosted:
        hosting.prepare(subject.context, subject.project, repository)
        return Finding(check=name, level="ok", message="pushed to this server")
    try:
        # this notices a remote that hangs; the first fetch of a large repository may take long
        limit = min(LISTING_S, subject.left)
        remotes.list_refs(subject.context, repository, time_limit_s=limit)
        remotes.fetch(subject.context, repository, ())
    except PushmillError as error:
        advice = (
            "correct that, then press *Retry now* on the page of the waiting delivery, or wait for the next attempt"
        )
        return Finding(check=name, level="fail", message=str(error), advice=advice)
    wait = polling.get_interval(subject.context, repository)
    asked = f"polled every {format_duration(wait)}" if wait else "not polled"
    count = len(git.list_refs(subject.path))
    refs = "1 branch or tag" if count == 1 else f"{count:,} branches and tags"
    return Finding(check=name, level="ok", message=f"fetched: {refs}; {asked}")


def _token(access: Access, client: Client, branch: str) -> tuple[Finding, str]:
    """Return the finding, and the default branch as reported by the forge."""
    try:
        described = webhook_setup.check_reachable(access, client)
    except ForgeError as error:
        return make_finding("token", error), branch
    branch, name = described.default_branch or branch, described.full_name or access.name
    if name.lower() != access.name.lower():
        message = f"the repository is now named {name} on the forge, but this project is for {access.name}"
        return Finding(check="token", level="fail", message=message, advice=SET_URL), branch
    return Finding(check="token", level="ok", message=f"reaches {name} at {access.url}"), branch


def _no_token(subject: Subject) -> Finding:
    advice = f"`pushmill project set-token {subject.project.name}` stores one and creates the webhook"
    message = "none: no statuses are posted, and you enter the webhook yourself"
    return Finding(check="token", level="warn", message=message, advice=advice)


def _configuration(subject: Subject, branch: str) -> tuple[Finding, Head | None]:
    """Check the configuration at the head of the default branch; also return that commit."""
    name = subject.project.yaml_path
    try:
        budget = commit_head.ReadBudget(subject.context.config.limits)
        head = commit_head.read_head(subject.context.db, subject.project, subject.path, f"refs/heads/{branch}", budget)
    except CommitMissing:
        message, advice = f"the repository has no branch {branch} yet", "push a commit"
        return Finding(check=name, level="warn", message=message, advice=advice), None
    except PushmillError as error:
        return make_finding(name, error), None
    where = f"{branch} ({head.info.sha[:8]})"
    if head.config_state != "ok":
        message = f"{head.config_state} at {where}: {'; '.join(head.problems)[:500]}"
        advice = f"commit a {name} with the steps to run: see docs/steps.md"
        return Finding(check=name, level="fail", message=message, advice=advice), head
    steps = list(map_step_items(head.config))
    shown = ", ".join(steps[:SHOWN_STEPS]) + (", …" if len(steps) > SHOWN_STEPS else "")
    count = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    return Finding(check=name, level="ok", message=f"{count} at {where}: {shown}"), head


def _status(subject: Subject, access: Access, client: Client, head: Head, branch: str) -> Finding:
    base = subject.context.config.server.url.rstrip("/") or subject.context.config.local_url
    page = f"{base}/p/{subject.project.name}/commits/{head.info.sha}/"[:URL_CHARS]
    try:
        webhook_setup.show_test_status(access, client, head.info.sha, branch, page)
    except ForgeError as error:
        return make_finding("status", error)
    message = f"{webhook_setup.CONTEXT} can be posted on {head.info.sha[:8]}"
    problem = subject.repository.api_problem
    if problem:
        credentials.resume_posting(subject.context.db, subject.repository)
        message += f"; posting statuses resumes after an earlier problem ({problem})"
    if others := hosting.list_repositories_sharing_statuses(subject.context.db, subject.repository):
        names = ", ".join(projects.get(subject.context.db, other.project_id).name for other in others)
        message += f"; project {names} uses the same repository, and each overwrites the statuses of the other"
        advice = "run `pushmill project set-url` with the same URL for one of them: its statuses then contain its name"
        return Finding(check="status", level="warn", message=message, advice=advice)
    return Finding(check="status", level="ok", message=message)


def _comments(access: Access, client: Client) -> Finding:
    try:
        webhook_setup.try_commenting(access, client)
    except ForgeError as error:
        return make_finding("comments", error)
    return Finding(check="comments", level="ok", message="the token may comment on pull requests")


def _server_url(subject: Subject) -> Finding:
    url, remote = subject.context.config.server.url, hosting.find_remote(subject.repository)
    advice = (
        'set `url = "https://…"` below [server] in config.toml to the address at which the forge reaches this server'
    )
    if not url:
        return Finding(check="server url", level="fail", message="the address of this server is not set", advice=advice)
    host = urlsplit(url).hostname or ""
    if _is_loopback(host) and remote is not None and not _is_loopback(remote.host):
        message = f"{url} is this machine's own address, which {remote.host} cannot reach"
        return Finding(check="server url", level="fail", message=message, advice=advice)
    return Finding(check="server url", level="ok", message=url)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
