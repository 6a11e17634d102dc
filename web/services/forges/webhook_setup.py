"""Set up and check a repository on its forge with a token: read it, create the webhook, post a test status."""

from __future__ import annotations

from core.config import Config
from core.errors import ForgeError
from core.model import Project, Repository
from hooks.apis.base import MAX_PAGES, Answer, Call, CommitState, CommitStatus, DescribedRepository, Webhook
from hooks.apis.client import Client, Later, Refused
from web.services.context import Context
from web.services.repositories import credentials, hosting
from web.services.repositories.credentials import Access
from web.store import projects

CONTEXT = "pushmill-check"  # not below pushmill/, where a step may have this name
NO_URL = "the forge does not know the address of this server: set `url` below [server] in config.toml"


def set_up(context: Context, project: Project, *, added: bool = False, deadline: float | None = None) -> list[str]:
    """Check that the token reaches the repository and create the webhook; return what was done, in sentences.

    An existing webhook stays as it is. The badge of a project that was just `added` becomes public if the repository is
    public on the forge. Raises ForgeError.
    """
    db, repository = context.db, hosting.get_repository(context.db, project)
    access = _access(context, project, repository)
    with access.client(deadline) as client:
        found = check_reachable(access, client)
        if added and found.is_public:
            projects.set_badge_public(db, project.id, True)
        done = [f"The token reaches {found.full_name or access.name}."]
        url = make_webhook_url(context.config, project, repository)
        if not url:
            again = f"`pushmill project webhook {project.name}`"
            return [*done, f"No webhook was created: {NO_URL}, then run {again}."]
        present = find_webhook(access, client, url)
        if present is None:
            make_webhook(access, client, url, context.vault.decrypt(projects.get_secret(db, repository.id)).decode())
            return [*done, f"Created the webhook: the forge reports pushes, tags and pull requests to {url}."]
    page = hosting.get_webhooks_page(repository)
    state = "" if present.active else f", but it is disabled: enable it at {page}"
    secret = f"its secret must be the one that `pushmill project show {project.name}` prints"
    return [*done, f"The webhook to {url} already exists{state}; {secret}."]


def _access(context: Context, project: Project, repository: Repository) -> Access:
    """Return the access to the forge's API. Raises ForgeError without a token or an API."""
    access = credentials.load_access(context, repository)
    if access is None:
        kind = f"forge {repository.forge} has no API that takes a token"
        way_out = (
            f"`pushmill project set-token {project.name}` stores one" if credentials.has_forge_api(repository) else kind
        )
        raise ForgeError(f"project {project.name} has no token", way_out)
    return access


def make_webhook_url(config: Config, project: Project, repository: Repository) -> str:
    """Return the URL that the forge sends webhooks to; "" if `[server] url` is not set."""
    base = config.server.url.rstrip("/")
    return base + hosting.get_webhook_path(project, repository.forge) if base else ""


def check_reachable(access: Access, client: Client) -> DescribedRepository:
    """Return the forge's description of the repository. Raises ForgeError if the token does not reach it."""
    return access.api.parse_repository(
        _send(access, client, access.api.get_repository(access.name), "read the repository").json
    )


def find_webhook(access: Access, client: Client, url: str) -> Webhook | None:
    """Return the webhook with this URL, None if there is none. Raises ForgeError."""
    seen: set[str] = set()
    for page in range(1, MAX_PAGES + 1):
        answer = _send(access, client, access.api.list_webhooks(access.name, page), "read its webhooks")
        found = [hook for hook in access.api.parse_webhooks(answer.json) if hook.id not in seen]
        for hook in found:
            if hook.url == url:
                return hook
        if not found:
            break
        seen |= {hook.id for hook in found}
    return None


def make_webhook(access: Access, client: Client, url: str, secret: str) -> None:
    """Create the webhook. Raises ForgeError."""
    _send(access, client, access.api.create_webhook(access.name, url, secret), "create a webhook")


def show_test_status(access: Access, client: Client, sha: str, ref: str, url: str) -> None:
    """Post a successful test status to a commit. Raises ForgeError."""
    status = CommitStatus(
        context=CONTEXT, state=CommitState.SUCCESS, description="pushmill can post here", url=url, ref=ref
    )
    _send(access, client, access.api.post_status(access.name, sha, status), "post statuses on commits")


def try_commenting(access: Access, client: Client) -> None:
    """Raise ForgeError if the token may not comment. Changes nothing, as pull request 0 and comment 0 do not exist."""
    outcome = client.send(access.api.edit_comment(access.name, 0, "0", ""))
    if isinstance(outcome, Later) or (isinstance(outcome, Refused) and outcome.status in (401, 403)):
        raise ForgeError(*explain(access, outcome, "comment on pull requests"))


def send_test(access: Access, client: Client, call: Call) -> None:
    """Make the forge send a test delivery. Raises ForgeError."""
    _send(access, client, call, "send a test delivery")


def _send(access: Access, client: Client, call: Call, what: str) -> Answer:
    outcome = client.send(call)
    if isinstance(outcome, Answer):
        return outcome
    raise ForgeError(*explain(access, outcome, what))


def explain(access: Access, outcome: Later | Refused, what: str) -> tuple[str, str]:
    """Return what is wrong, and what to do about it. `what` completes "the token may not"."""
    reason, rights = outcome.reason, access.api.RIGHTS
    if isinstance(outcome, Later):
        return (
            f"the forge did not answer when asked to {what} ({reason})",
            "try it again, or give its address with --api-url",
        )
    if outcome.status == 401:
        return f"the token is wrong or has expired ({reason})", f"create a new one that has {rights}"
    if outcome.status == 403:
        return f"the token may not {what} ({reason})", f"give it {rights}"
    if outcome.status == 404:
        problem = f"{access.url} has no repository {access.name}, or the token may not {what} ({reason})"
        below = "; if the forge's pages are below a path of its host, give the address of its API with --api-url"
        return problem, f"the name must be right, and the token must have {rights}{below if access.api.NESTED else ''}"
    if 300 <= outcome.status < 400:
        return f"the repository was renamed or moved ({reason})", "`pushmill project set-url` changes it"
    if outcome.status == 0:
        return reason, "give the address of the forge's API with --api-url"
    return f"the forge refused to let the token {what} ({reason})", f"the token should have {rights}"
