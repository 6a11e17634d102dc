"""List and fetch remote repositories with their credentials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core import git
from core.errors import GitDenied, GitError, InvalidDelivery
from core.model import Repository
from hooks import post_receive
from web.services.context import Context
from web.services.repositories import credentials, git_logins, hosting
from web.store import projects

SHA_1_CHARS = 40
FETCH_LIMIT_S, LISTING_LIMIT_S = 1800.0, 60.0


def fetch(
    context: Context,
    repository: Repository,
    shas: Sequence[str],
    more: Sequence[str] = (),
) -> None:
    """Update the mirror from the remote, with these commits and the refs `more`. Raises GitError or InvalidDelivery."""
    if any(len(sha) > SHA_1_CHARS for sha in shas):  # every retry would fail, for three days
        raise InvalidDelivery(f"the repository names its objects by SHA-256, {post_receive.ONLY_SHA_1}")
    path = hosting.get_repository_path(context.config, repository)
    remote = make_source(context, repository)
    git.init_mirror(path)
    with _advice(context, repository):
        git.fetch(path, remote, shas=shas, more=more)
    projects.set_fetched(context.db, repository.id)


def make_source(context: Context, repository: Repository, *, time_limit_s: float = FETCH_LIMIT_S) -> git.RemoteSource:
    """Return a repository's remote with credentials, as functions of `core.git` take it. Raises GitError."""
    if repository.url is None:
        raise GitError(
            f"repository {repository.id} has no URL to fetch from: `pushmill hook install` on this machine sets it"
        )
    rules = context.config.git
    return git.make_remote_source(
        repository.url,
        get_login(context, repository),
        allow_local=rules.allow_local,
        allow_http=rules.allow_http,
        time_limit_s=time_limit_s,
    )


def get_login(context: Context, repository: Repository) -> git.Login:
    """Return the credentials of a repository; for http those of the URL, else those derived from the API token."""
    user, password = "", ""
    key = projects.find_ssh_key(context.db, repository.id) if repository.deploy_key else None
    if repository.has_login:
        user, password = git_logins.load_login(context, repository.id)
    if not password and repository.has_token and (access := credentials.load_access(context, repository)):
        token_user, password = access.git_login()
        user = user or token_user
    ssh_key = context.vault.decrypt(key) if key else None
    return git.Login(ssh_key=ssh_key, user=user or git.TOKEN_USER, password=password or None)


def list_refs(
    context: Context, repository: Repository, *, time_limit_s: float = LISTING_LIMIT_S
) -> dict[str, tuple[str, ...]]:
    """Return the branches and tags of the remote, as `git.remote_refs` does. Raises GitError."""
    path = hosting.get_repository_path(context.config, repository)
    with _advice(context, repository):
        found = git.list_remote_refs(path, make_source(context, repository, time_limit_s=time_limit_s))
    if any(len(names[0]) > SHA_1_CHARS for names in found.values()):
        raise GitError(f"the repository names its objects by SHA-256, {post_receive.ONLY_SHA_1}")
    return found


@contextmanager
def _advice(context: Context, repository: Repository) -> Iterator[None]:
    """Add to errors raised in the context how to set the repository's credentials."""
    try:
        yield
    except GitDenied as error:
        hidden = "if it is private, " if "' not found" in str(error) else ""  # forges answer this without access
        raise GitDenied(f"{error}; {hidden}{_credentials_advice(context, repository)}") from None


def _credentials_advice(context: Context, repository: Repository) -> str:
    """Return how to set the credentials for fetching over http. A password in the URL takes precedence over a token."""
    name, remote = projects.get(context.db, repository.project_id).name, hosting.find_remote(repository)
    _, password = git_logins.load_login(context, repository.id)
    missing = f"its {'user and password' if password else 'credentials'} are missing, wrong or not enough"
    if credentials.has_forge_api(repository) and not password:
        return f"{missing}: `pushmill project set-token {name}` stores a token"
    scheme, _, rest = (remote.address if remote else "").partition("://")
    return f"{missing}: `pushmill project set-url {name} {scheme}://USER:TOKEN@{rest}` stores a user with a password or token"
