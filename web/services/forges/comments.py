"""The single comment on a pull request: created, found again, and edited if its text differs."""

from __future__ import annotations

import hashlib

from core.model import Project, Repository
from hooks.apis.base import MAX_PAGES, Answer, Comment
from hooks.apis.client import Client, Later, Outcome, Refused
from web.services.context import Context
from web.services.forges import comment_rows, enqueue, statuses
from web.services.forges.comment_rows import Base
from web.services.forges.statuses import ForgeSession, PublishProgress
from web.services.presentation import comment_text
from web.services.presentation.comment_text import CommentContent
from web.services.repositories.credentials import Access
from web.store import audit, comments, commits, projects
from web.store import statuses as stored
from web.store.audit import Act, Kind
from web.store.comments import Commented
from web.store.db import Database, transaction
from web.store.outbox import OutboxLine
from web.store.statuses import StandaloneRuns

FORBIDDEN = 403  # a token that may not comment may still post statuses
GONE = (404, 410)
MARKER_CHARS = 32


def publish_comment(session: ForgeSession, line: OutboxLine) -> PublishProgress:
    """Create or update the comment of a pull request, with as few calls as possible."""
    context, repository = session.context, session.repository
    db = context.db
    pull = comments.find_commented(db, repository.id, int(line.subject))
    if pull is None:
        return PublishProgress()
    marker = comment_text.make_hidden_marker(
        context.vault.derived(f"comment {repository.id} {pull.number}").hex()[:MARKER_CHARS]
    )
    body = _body(context, repository, pull, marker)
    digest = hashlib.sha256(body.encode()).hexdigest()
    if not body or (pull.comment_id and pull.comment_sha256 == digest):
        return PublishProgress()
    outcome = _put(session.client, session.access, pull, body, marker)
    if isinstance(outcome, Later):
        return PublishProgress(later=outcome)
    if isinstance(outcome, Refused):
        stop = statuses.explain_stop(outcome)
        return (
            PublishProgress(stop=stop)
            if stop and outcome.status != FORBIDDEN
            else PublishProgress(problem=outcome.reason)
        )
    with transaction(db):
        comments.record(db, pull.id, outcome.id, digest)
    return PublishProgress()


def set_comments(db: Database, project: Project, wanted: bool) -> None:
    """Turn comments on pull requests on or off. Those of the last day are enqueued now; existing comments stay."""
    with transaction(db):
        comments.set_wanted(db, project.id, wanted)
        detail = f"comments {'on' if wanted else 'off'}"
        audit.record(db, Act.CHANGE, Kind.SETTINGS, project.name, project.id, detail)
    for repository in projects.list_repositories(db, project.id):
        enqueue.enqueue_recent(db, repository.id)


def _put(client: Client, access: Access, pull: Commented, body: str, marker: str) -> Comment | Later | Refused:
    """Edit the existing comment or create one. A deleted comment is created again."""
    found: Comment | Later | Refused | None = Comment(id=pull.comment_id, body="") if pull.comment_id else None
    if found is None:
        found = _find(client, access, pull, marker)  # a worker that was killed may have created it
    if isinstance(found, Later | Refused) or (found is not None and found.body == body):
        return found
    if found is not None:
        edited = _comment(
            access, client.send(access.api.edit_comment(access.name, pull.number, found.id, body)), found.id
        )
        if not (isinstance(edited, Refused) and edited.status in GONE):
            return edited
    return _comment(access, client.send(access.api.create_comment(access.name, pull.number, body)))


def _find(client: Client, access: Access, pull: Commented, marker: str) -> Comment | Later | Refused | None:
    """Return the oldest comment with our marker, which was secret until that comment existed; None without one."""
    seen: set[str] = set()
    for page in range(1, MAX_PAGES + 1):
        outcome = client.send(access.api.list_comments(access.name, pull.number, page))
        if not isinstance(outcome, Answer):
            return outcome
        found = [comment for comment in access.api.parse_comments(outcome.json) if comment.id not in seen]
        if ours := next((comment for comment in found if marker in comment.body), None):
            return ours
        if not found:
            return None
        seen |= {comment.id for comment in found}
    return None


def _comment(access: Access, outcome: Outcome, known_id: str = "") -> Comment | Later | Refused:
    if not isinstance(outcome, Answer):
        return outcome
    comment = access.api.parse_comment(outcome.json)
    return comment if comment.id else Comment(id=known_id, body=comment.body)


def _body(context: Context, repository: Repository, pull: Commented, marker: str) -> str:
    """Return the comment's text; "" as long as there is nothing to report."""
    db = context.db
    commit = commits.find_by_identifier(db, repository.project_id, pull.sha)
    found = stored.get_newest_runs(db, repository.id, commit.id) if commit else StandaloneRuns()
    problem = statuses.find_commit_problem(db, repository, commit) if commit else ""
    if commit is None or not (found.states or problem or pull.comment_id):
        return ""
    project = projects.get(db, repository.project_id)
    base_commit = comments.find_base_commit(db, repository.id, pull.base_branch)
    base = Base(
        db=db,
        repository_id=repository.id,
        branch=pull.base_branch,
        commit=commit,
        page=f"{context.config.server.url.rstrip('/')}/p/{project.name}",
        base_config=commits.get(db, base_commit).config if base_commit else None,
    )
    return comment_text.format_comment(
        CommentContent(
            sha=commit.identifier,
            url=f"{base.page}/commits/{commit.identifier}/",
            base_branch=pull.base_branch,
            states=found.states,
            runs=comment_rows.build_rows(base, found, comment_text.ROWS),
            marker=marker,
            problem=problem,
        )
    )
