"""`pushmill project` and `pushmill hook`: what an administrator does on the server's machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, Any

import click
from sqlite_utils import Database

from core.config import Config
from core.errors import ForgeError, InvalidInput, NotFound, PushmillError
from core.git import url as git_url
from core.model import Project
from hooks import post_receive
from hooks.apis.registry import APIS
from hooks.forges.registry import FORGES, by_host
from web.approval_admin import approve
from web.comment_admin import comments
from web.environment_use_admin import environments
from web.forge_admin import API_URL, set_token, take, webhook
from web.local import CONFIG, DATA, JSON, opened
from web.project_check import check
from web.repository_admin import deploy_key, described, printed, set_url
from web.rules_admin import rules, trigger
from web.services import forge_access, forge_setup, hosting, setup
from web.services.vault import Vault
from web.store import projects, users
from web.variable_admin import variable


@click.group("project")
def project() -> None:
    """Add, list and show projects."""


project.add_command(variable)
for _command in (approve, check, comments, deploy_key, environments, rules, set_token, set_url, trigger, webhook):
    project.add_command(_command)


@project.command("add")
@click.argument("name")
@click.option("--repo", "url", help="Clone URL of a repository elsewhere; without one it is pushed to this server.")
@click.option(
    "--forge",
    type=click.Choice(sorted(FORGES)),
    help="What tells of its pushes; by default told by the URL's host, else plain.",
)
@click.option(
    "--token-file", type=click.File("r"), help="An API token of the forge, which makes the webhook; - is stdin."
)
@API_URL
@JSON
@DATA
@CONFIG
def add(
    name: str,
    url: str | None,
    forge: str | None,
    token_file: Any,
    api_url: str | None,
    as_json: bool,
    data: Path | None,
    config_file: Path | None,
) -> None:
    """Add a project and print its webhook's URL and secret, and the forge's page where both are entered."""
    with opened(data, config_file) as (db, config, key):
        forge = forge or _forge_of(config, url)
        if api_url and not token_file:
            raise InvalidInput("--api-url is of use with --token-file alone: without a token no API is called")
        token = _token(token_file, forge) if token_file else ""
        made, secret = _added(db, config, key, name, url, forge)
        said, problem = _set_up(db, config, key, made, token, api_url or "") if token else ([], None)
        repository = hosting.repository_of(db, made)
        printed(described(config, made, repository) | {"webhook_secret": secret}, as_json)
        if not as_json and not token and not config.server.url and hosting.webhook_page(repository):
            click.echo("The forge cannot reach that address: set `url` below [server] in config.toml.", err=True)
    for line in said:
        click.echo(line, err=as_json)
    if problem is not None:
        raise InvalidInput(
            f"project {name} is there, but {problem}; then go on with `pushmill project set-token {name}`"
        )


def _set_up(
    db: Database, config: Config, key: Vault, made: Project, token: str, api_url: str
) -> tuple[list[str], PushmillError | None]:
    """What was done on the forge, or why not; the project stays in any case."""
    try:
        take(db, key, made, token, api_url)
        return forge_setup.set_up(db, config, key, made, hosting.repository_of(db, made), added=True), None
    except (ForgeError, InvalidInput) as error:
        return [], error


def _forge_of(config: Config, url: str | None) -> str:
    """What tells of the pushes to a repository, as far as its URL says."""
    if url is None:
        return projects.HOSTED
    remote = git_url.parse(url, allow_local=config.git.allow_local, allow_http=config.git.allow_http)
    return by_host(remote.host) or "plain"


def _token(file: IO[str], forge: str) -> str:
    if forge not in APIS:
        raise InvalidInput(forge_access.no_api(forge))
    token = file.read().strip()
    if not token:
        raise InvalidInput(f"the token file {file.name} is empty")
    return token


def _added(db: Database, config: Config, key: Vault, name: str, url: str | None, forge: str) -> tuple[Project, str]:
    """The project and its webhook's secret."""
    if url is not None:
        git_url.parse(url, allow_local=config.git.allow_local, allow_http=config.git.allow_http)
    owner = users.by_name(db, setup.ADMIN)
    if owner is None:
        raise NotFound("there is no admin yet: start the server once with `pushmill up`")
    most = config.limits.max_executions
    made, secret = hosting.add_project(db, key, name, owner.id, forge=forge, url=url, max_executions=most)
    repository = hosting.repository_of(db, made)
    if repository.forge == projects.HOSTED:
        hosting.prepare(db, config, key, made, repository)
    return made, secret


@project.command("set-secret")
@click.argument("name")
@DATA
@CONFIG
def set_secret(name: str, data: Path | None, config_file: Path | None) -> None:
    """Take the webhook secret that the forge made, as GitLab makes signing tokens. It is asked for, or piped in."""
    with opened(data, config_file) as (db, _, key):
        found = projects.by_name(db, name)
        piped = not sys.stdin.isatty()
        secret = sys.stdin.readline().strip() if piped else click.prompt("Secret", hide_input=True, err=True)
        hosting.set_secret(db, key, found, secret)
    click.echo(f"The webhook of project {name} has this secret from now on.")


@project.command("list")
@JSON
@DATA
@CONFIG
def show_all(as_json: bool, data: Path | None, config_file: Path | None) -> None:
    """List the projects."""
    with opened(data, config_file) as (db, config, _):
        found = [
            described(config, listed, repository)
            for listed in projects.listing(db)
            for repository in projects.repositories(db, listed.id)
        ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for item in found:
        click.echo(f"{item['name']:<32}  {item['forge']:<8}  {item['repository']}")
    if not found:
        click.echo("No project yet: push to the server, or add one with `pushmill project add`.")


@project.command("show")
@click.argument("name")
@JSON
@DATA
@CONFIG
def show(name: str, as_json: bool, data: Path | None, config_file: Path | None) -> None:
    """Show a project with its webhook's URL and secret."""
    with opened(data, config_file) as (db, config, key):
        found = projects.by_name(db, name)
        repository = hosting.repository_of(db, found)
        secret = key.decrypt(projects.secret(db, repository.id)).decode()
        printed(described(config, found, repository) | {"webhook_secret": secret}, as_json)


@click.group("hook")
def hook() -> None:
    """Install the hook that tells of pushes to a bare repository."""


@hook.command("install")
@click.argument("bare_repo", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--project", "name", required=True, help="The project that the repository belongs to.")
@click.option("--url", "server_url", help="The server, as this machine reaches it.")
@click.option(
    "--secret-file", type=click.File("r"), help="The project's secret, on a machine without the server's data."
)
@DATA
@CONFIG
def install(
    bare_repo: Path,
    name: str,
    server_url: str | None,
    secret_file: Any,
    data: Path | None,
    config_file: Path | None,
) -> None:
    """Install the post-receive hook in BARE_REPO, a bare repository on this machine."""
    bare_repo = bare_repo.absolute()
    if secret_file is None:
        server_url, secret, notes = _known_here(bare_repo, name, server_url, data, config_file)
    else:
        secret, notes = secret_file.read().strip(), []
    if not server_url or not secret:
        raise InvalidInput("with --secret-file, name the server by --url; the file must hold the project's secret")
    post_receive.install(bare_repo, f"{server_url.rstrip('/')}/hooks/{name}/plain", secret.encode())
    click.echo(f"Installed in {bare_repo}: its pushes are told to {server_url.rstrip('/')} as project {name}.")
    for note in notes:
        click.echo(note)


def _known_here(
    bare_repo: Path, name: str, server_url: str | None, data: Path | None, config_file: Path | None
) -> tuple[str, str, list[str]]:
    """URL and secret from the server's own data; the project learns where to fetch from when it does not know."""
    notes = []
    with opened(data, config_file) as (db, config, key):
        found = projects.by_name(db, name)
        plain = [r for r in projects.repositories(db, found.id) if r.forge == "plain"]
        if not plain:
            raise InvalidInput(f"project {name} has no repository of forge plain: `pushmill project add` makes one")
        if plain[0].url is None:
            projects.set_url(db, plain[0].id, str(bare_repo))
            notes.append(f"The server fetches from {bare_repo}.")
            if not config.git.allow_local:
                notes.append("For that it needs `allow_local = true` below [git] in config.toml, and a restart.")
        secret = key.decrypt(projects.secret(db, plain[0].id)).decode()
        return server_url or config.server.url or config.local_url, secret, notes
