"""Repositories on the server's disk, hosted here or mirrors: their paths, and creating projects with a repository."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from core import git, locks
from core.config import Config
from core.errors import Conflict, GitError, InvalidInput, NotFound
from core.git import url as git_url
from core.git.url import RemoteUrl
from core.model import Project, Repository
from hooks import post_receive, statuses
from hooks.forges.base import Forge
from hooks.forges.registry import FORGES, find_forge_by_host
from web.services.context import Context
from web.services.repositories import git_logins
from web.store import audit, forge_access, outbox, projects
from web.store.audit import Act, Kind
from web.store.db import Database, transaction

SECRET = re.compile(r"[!-~]{16,500}")


def get_repository_path(config: Config, repository: Repository) -> Path:
    """Return the path of a repository, built from its id alone so that no name can escape the directory."""
    return config.git_dir / f"{repository.id}.git"


def get_forks_path(config: Config, repository: Repository) -> Path:
    """Return the path of the repository with unapproved heads of forks' pull requests."""
    return config.git_dir / f"{repository.id}.forks.git"


def get_modules_path(config: Config, repository: Repository) -> Path:
    """Return the path of the repository with the commits of submodules."""
    return config.git_dir / f"{repository.id}.modules.git"


def get_lfs_path(config: Config, repository: Repository) -> Path:
    """Return the path of the store of Git LFS objects, including those of submodules."""
    return config.git_dir / f"{repository.id}.lfs"


def get_webhook_path(project: Project, forge: str) -> str:
    """Return the path for a project's deliveries below the server's URL."""
    return f"/hooks/{project.name}/{'plain' if forge == projects.HOSTED else forge}"


def find_remote(repository: Repository) -> RemoteUrl | None:
    """Return the remote of a repository that is fetched, even if the settings do not allow fetching it."""
    with contextlib.suppress(GitError):
        return git_url.parse(repository.url or "", allow_local=True, allow_http=True)
    return None


def get_new_webhook_page(repository: Repository) -> str:
    """Return the forge's page for adding a webhook; "" if there is none."""
    return _page(repository, lambda forge: forge.NEW_WEBHOOK)


def get_webhooks_page(repository: Repository) -> str:
    """Return the forge's page that lists webhooks and their deliveries; "" if there is none."""
    return _page(repository, lambda forge: forge.WEBHOOKS)


def get_deploy_key(repository: Repository) -> str:
    """Return the public deploy key of a repository; "" if it is not fetched by ssh."""
    return repository.deploy_key if _takes_key(repository.url) else ""


def get_deploy_key_page(repository: Repository) -> str:
    """Return the forge's page for adding a deploy key; "" if there is no page or no key."""
    return _page(repository, lambda forge: forge.DEPLOY_KEYS) if get_deploy_key(repository) else ""


def get_changes_page(repository: Repository, before: str, after: str) -> str:
    """Return the forge's page with the changes between two commits; "" if there is none."""
    return _page(repository, lambda forge: forge.CHANGES.format(before=before, after=after))


def get_commit_page(repository: Repository, sha: str) -> str:
    """Return the forge's page of a commit; "" if there is none."""
    return _page(repository, lambda forge: forge.COMMITS and f"{forge.COMMITS}/{sha}")


def _page(repository: Repository, path_of: Callable[[Forge], str]) -> str:
    remote, forge = find_remote(repository), FORGES.get(repository.forge)
    path = path_of(forge) if forge else ""
    return remote.page + path if path and remote and remote.page else ""


def replace_deploy_key(context: Context, project: Project) -> str:
    """Replace the deploy key pair and return the public half. Raises InvalidInput."""
    repository = get_repository(context.db, project)
    if not _takes_key(repository.url):
        raise InvalidInput(
            f"project {project.name} is not fetched by ssh, so it has no deploy key: `pushmill project set-url"
            f" {project.name} ssh://git@HOST/OWNER/NAME.git` changes that"
        )
    with transaction(context.db):
        audit.record(context.db, Act.CHANGE, Kind.CREDENTIALS, "deploy key", project.id)
        return _give_key(context, project, repository)


def _takes_key(url: str | None) -> bool:
    """Return whether an address can only be opened with a key."""
    with contextlib.suppress(GitError):
        return git_url.parse(url or "", allow_local=True, allow_http=True).scheme == "ssh"
    return False


def _give_key(context: Context, project: Project, repository: Repository) -> str:
    """Create an ssh key pair, whose private half only this server has; return the public half, as forges accept it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    named = f"{public} pushmill {project.name}"
    projects.set_ssh_key(context.db, repository.id, named, context.vault.encrypt(private))
    return named


def set_url(context: Context, project: Project, url: str, forge: str | None) -> Repository:
    """Change the URL that a project is fetched from and return its updated repository.

    Without `forge` it is detected from the host's name, else it stays. The old name on the forge is dropped; the next
    verified delivery sets the new one. Raises InvalidInput or GitError.
    """
    repository = get_repository(context.db, project)
    if repository.forge == projects.HOSTED:
        raise InvalidInput(f"project {project.name} is pushed to this server, so it has no URL to fetch from")
    remote = git_url.parse(url, allow_local=context.config.git.allow_local, allow_http=context.config.git.allow_http)
    url, login = git_url.split_login(url)
    old = find_remote(repository)
    with transaction(context.db):
        if old is None or old.host != remote.host:  # a new host must not get the token of the old one
            forge_access.set_token(context.db, repository.id, None)
            forge_access.set_api_url(context.db, repository.id, "")
            outbox.drop_due(context.db, repository.id)
        projects.relocate(context.db, repository.id, url, forge or find_forge_by_host(remote.host) or repository.forge)
        if _place(projects.get_repository(context.db, repository.id)) != _place(repository):
            projects.set_status_context(context.db, repository.id, statuses.CONTEXT)
        _name_statuses(context.db, project, repository.id)
        git_logins.store_login(context, repository.id, login)
        if remote.scheme == "ssh" and not repository.deploy_key:
            _give_key(context, project, repository)
        audit.record(context.db, Act.CHANGE, Kind.SETTINGS, project.name, project.id, f"URL {url}")
    return projects.get_repository(context.db, repository.id)


def list_repositories_sharing_statuses(db: Database, repository: Repository) -> list[Repository]:
    """Return repositories of other projects that are the same one on the forge and have the same status names."""
    place = _place(repository)
    return [
        other
        for other in projects.list_remote_repositories(db)
        if place and other.id != repository.id and _place(other) == place
        if other.status_context == repository.status_context
    ]


def _name_statuses(db: Database, project: Project, repository_id: int) -> None:
    """Add the project's name to a repository's status names if another project's statuses would overwrite them.

    Names do not change after that: branch protection on the forge may require them.
    """
    if list_repositories_sharing_statuses(db, projects.get_repository(db, repository_id)):
        projects.set_status_context(db, repository_id, f"{statuses.CONTEXT}:{project.name}")


def _place(repository: Repository) -> str:
    """Return a key for a repository on its forge, the same for https and ssh; "" for a hosted one."""
    remote = find_remote(repository)
    return (remote.page or remote.address).lower() if remote else ""


def get_repository(db: Database, project: Project) -> Repository:
    """Return the repository behind /git/<project>.git: the hosted one, else the first. Raises NotFound."""
    found = projects.list_repositories(db, project.id)
    if not found:
        raise NotFound(f"project {project.name} has no repository")
    return next((repository for repository in found if repository.forge == projects.HOSTED), found[0])


def make_secret() -> str:
    """Return a new webhook secret, in characters that every forge's form accepts."""
    return secrets.token_hex(32)


def set_secret(context: Context, project: Project, secret: str) -> None:
    """Set a webhook secret that the forge created. Raises InvalidInput."""
    db = context.db
    repository = get_repository(db, project)
    if repository.forge == projects.HOSTED:
        raise InvalidInput(f"project {project.name} is pushed to this server, so it has no webhook with a secret")
    if not SECRET.fullmatch(secret):
        raise InvalidInput(
            f"a webhook secret must have 16 to 500 ASCII characters and no spaces, this one has {len(secret)}"
        )
    with transaction(db):
        projects.set_secret(db, repository.id, context.vault.encrypt(secret.encode()))
        audit.record(db, Act.CHANGE, Kind.CREDENTIALS, "webhook secret", project.id)


def add_project(
    context: Context,
    name: str,
    owner_id: int,
    *,
    description: str = "",
    forge: str = projects.HOSTED,
    url: str | None = None,
) -> tuple[Project, str]:
    """Create a project with one repository; return it with the webhook secret in plain text.

    User and password in `url` are stored separately. Raises InvalidInput, GitError for a URL that cannot be fetched, or
    Conflict if the project exists.
    """
    secret = make_secret()
    url, login = git_url.split_login(url) if url else (url, None)
    with transaction(context.db):
        with contextlib.suppress(NotFound):
            raise Conflict(f"project {projects.get_by_name(context.db, name).name!r} already exists")
        project = projects.add(context.db, name, owner_id, description, context.config.limits)
        made = projects.add_repository(
            context.db, project.id, forge=forge, url=url, secret=context.vault.encrypt(secret.encode())
        )
        git_logins.store_login(context, made.id, login)
        _name_statuses(context.db, project, made.id)
        if _takes_key(url):
            _give_key(context, project, made)
        audit.record(context.db, Act.CREATE, Kind.PROJECT, project.name, project.id)
    return project, secret


def ensure_project(context: Context, name: str, owner_id: int) -> Project:
    """Return the project `name`, creating it on its first push; concurrent first pushes create only one."""
    with contextlib.suppress(NotFound):
        return projects.get_by_name(context.db, name)
    with contextlib.suppress(Conflict):
        return add_project(context, name, owner_id)[0]
    return projects.get_by_name(context.db, name)


def prepare(context: Context, project: Project, repository: Repository) -> Path:
    """Create or repair the hosted repository with its hook. Idempotent; calls on this machine are serialised."""
    path = get_repository_path(context.config, repository)
    url = context.config.local_url + get_webhook_path(project, repository.forge)
    secret = context.vault.decrypt(projects.get_secret(context.db, repository.id))
    with locks.hold(context.config.git_dir / "prepare.lock"):
        git.init_hosted(path, post_receive.HOOK)
        post_receive.write_settings(path, url, secret)
    return path
