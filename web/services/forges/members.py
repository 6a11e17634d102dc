"""Members that a project takes from its forge: users who may push there may launch here.

People are recognised by the account that they have logged in with: issuer and subject, where the subject is the
person's id in the API of the same forge. Names and e-mail addresses are not compared, since they can be taken over.

The sweep asks every forge again after REFRESH_S, and a login asks earlier. If a forge does not answer,
nothing changes; a role that was given here is never changed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from core.config import Config
from core.errors import InvalidInput, PushmillError
from core.model import Project, Repository
from core.rights import Role
from hooks.apis.base import Answer, Call, Collaborator, Permission
from hooks.apis.client import Client, Later
from hooks.apis.registry import APIS
from web.services.context import Context
from web.services.forges.webhook_setup import explain
from web.services.presentation.formats import format_forge_name
from web.services.repositories import credentials, hosting
from web.services.repositories.credentials import Access
from web.store import audit, logins, member_sources, members, projects
from web.store.audit import Actor, Way
from web.store.db import Database, needs_transaction, transaction

REFRESH_S = 600.0
REST_S = 60.0  # shortest time between two refreshes of a project, however often people log in
CALLS_S = 120.0  # time for all calls of a refresh
PAGES = 50
ROLES = {Permission.PUSH: Role.WRITER, Permission.ADMIN: Role.OWNER}
ORDER = list(Role)


class _Unanswered(PushmillError):
    """Raised when the forge does not say who may push. `wait_s` is how long it wants no calls."""

    def __init__(self, problem: str, wait_s: float | None = None) -> None:
        super().__init__(problem)
        self.wait_s = wait_s or REST_S


def find_obstacle(config: Config, project: Project, repository: Repository) -> str:
    """Return why a project cannot take members from its forge, and the fix; "" if it can."""
    name, api = format_forge_name(repository.forge), APIS.get(repository.forge)
    if repository.forge == projects.HOSTED:
        return f"project {project.name} is pushed to this server, so it has no Git host to take members from"
    if api is None or api.list_collaborators("owner/name", 1) is None:
        return f"people of {name} cannot be recognised: {name} has no API for that, or nobody can log in with it"
    if not repository.has_token:
        return f"an API token of {name} is missing: `pushmill project set-token {project.name}` stores one"
    issuer = api.issuer(credentials.get_api_url(repository))
    if issuer.lower() not in {login.site.lower() for login in config.login.values()}:
        return f"nobody can log in with an account of {issuer or name}: add a section [login.NAME] to config.toml"
    return ""


def set_source(context: Context, project: Project, most: Role | None) -> None:
    """Take members from the forge with at most this role, or no more with None. Idempotent.

    Members who came from there leave when it is switched off. Raises InvalidInput if it cannot be switched on.
    """
    db = context.db
    if most is not None and (reason := find_obstacle(context.config, project, hosting.get_repository(db, project))):
        raise InvalidInput(reason)
    with transaction(db):
        if most is not None:
            member_sources.switch_on(db, project.id, most)
        elif member_sources.switch_off(db, project.id):
            _apply(db, project.id, {}, "")


def refresh(context: Context, project_id: int) -> None:
    """Ask the forge of a project who may push; give and take roles in one transaction."""
    db = context.db
    project = projects.get(db, project_id)
    repository = hosting.get_repository(db, project)
    access = credentials.load_access(context, repository)
    try:
        if (reason := find_obstacle(context.config, project, repository)) or access is None:
            raise _Unanswered(reason)
        with access.client(time.monotonic() + CALLS_S) as client:
            found, problem, rest_s = _permissions(db, access, client), "", REST_S
    except _Unanswered as error:
        found, problem, rest_s = {}, str(error), max(REST_S, error.wait_s)
    with transaction(db):
        source = member_sources.find_member_source(db, project_id)
        if source is None or credentials.load_access(context, hosting.get_repository(db, project)) != access:
            return  # changed meanwhile, so the answer is outdated
        if not problem:
            roles = {user_id: _role(permission, source.most) for user_id, permission in found.items()}
            with audit.acting(Actor(way=Way.FORGE)):
                _apply(db, project_id, roles, repository.forge)
        member_sources.settle(db, project_id, problem, max(REFRESH_S, rest_s), rest_s)


@needs_transaction
def _apply(db: Database, project_id: int, roles: Mapping[int, Role], source: str) -> None:
    """Make exactly these users, by id, members from the forge, except those whose role was given here."""
    known = {member.user_id: member for member in members.list_members(db, project_id)}
    for user_id, role in roles.items():
        if user_id not in known or known[user_id].source:
            members.set_role(db, project_id, user_id, role, source)
    for user_id, member in known.items():
        if member.source and user_id not in roles:
            members.remove(db, project_id, user_id)


def _role(permission: Permission, most: Role) -> Role:
    return min(ROLES[permission], most, key=ORDER.index)


def _permissions(db: Database, access: Access, client: Client) -> dict[int, Permission]:
    """Return what users of this server may do on the forge, by user id. Raises _Unanswered."""
    known = logins.map_users_by_subject(db, access.api.issuer(access.url))
    found: dict[int, Permission] = {}
    for person in _collaborators(access, client):
        user_id = known.get(person.id)
        if user_id is None:
            continue
        if call := access.api.get_permission(access.name, person):
            asked = access.api.parse_permission(_ask(access, client, call).json)
            person = asked if asked.id == person.id else person
        if person.permission and found.get(user_id) is not Permission.ADMIN:  # a user may have two accounts
            found[user_id] = person.permission
    return found


def _collaborators(access: Access, client: Client) -> list[Collaborator]:
    """List the people of the repository. Raises _Unanswered even for an empty list: the owner is always listed."""
    found: dict[str, Collaborator] = {}
    for page in range(1, PAGES + 1):
        call = access.api.list_collaborators(access.name, page)
        answer = _ask(access, client, call).json if call else None
        if not isinstance(answer, list):
            raise _Unanswered("the Git host did not answer with a list of people")
        more = [person for person in access.api.parse_collaborators(answer) if person.id not in found]
        if not more and not found:
            raise _Unanswered("the Git host lists nobody who may push: does the token have access to the members?")
        if not more:
            return list(found.values())
        found |= {person.id: person for person in more}
    raise _Unanswered(f"the repository has more than {len(found):,} people, which is too many to ask for")


def _ask(access: Access, client: Client, call: Call) -> Answer:
    outcome = client.send(call)
    if isinstance(outcome, Answer):
        return outcome
    problem, advice = explain(access, outcome, "list the people who may push")
    if isinstance(outcome, Later):
        raise _Unanswered(problem, outcome.wait_s)
    raise _Unanswered(f"{problem}: {advice}")
