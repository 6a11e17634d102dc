"""`pushmill project approve`: allow a commit of a fork to run."""

from __future__ import annotations

from collections.abc import Sequence

import click

from core.errors import InvalidInput, NotFound
from core.names import check_sha
from web.cli.options import get_project, on_server
from web.services import setup
from web.services.context import Context
from web.services.presentation import formats, verdict
from web.services.triggers import approvals
from web.store import approvals as store
from web.store import users
from web.store.approvals import WaitingPush

SHORTEST = 4  # fewest digits of a commit's name that identify it
WHOLE = 40
SHOWN = 12  # digits of a commit's name in the list


@click.command("approve")
@click.argument("name")
@click.argument("sha", required=False)
@on_server
def approve(context: Context, name: str, sha: str | None) -> None:
    """Allow commit SHA of a fork to run.

    This runs a stranger's code on your machines, with the project's secrets. The first digits of SHA are enough.
    Without SHA, list the commits that wait for approval.
    """
    found = get_project(context, name)
    waiting = store.list_waiting(context.db, found.id)
    if sha is None:
        _list(waiting)
        return
    person = users.find_by_name(context.db, setup.ADMIN)
    if person is None:
        raise NotFound("no admin exists yet; the first `pushmill up` creates one")
    whole = _whole(sha, waiting)
    made = approvals.approve(context, found, whole, person)
    waits = bool(store.list_waiting(context.db, found.id, whole))
    count = verdict.format_run_counts(one.target.kind for one in made)
    what = f"{count} start{'s' if len(made) == 1 else ''} soon" if made else "nothing else starts"
    click.echo(f"Commit {whole} is approved: {'it runs as soon as its history is fetched' if waits else what}.")


def _list(waiting: Sequence[WaitingPush]) -> None:
    for item in waiting:
        request = item.pull_request
        by = f" by {request.author}" if request.author else ""
        text = formats.to_one_line(f"pull request {request.number}{by}: {request.title or 'without a title'}")
        click.echo(f"{item.push.after[:SHOWN]}  {text}")
    if not waiting:
        click.echo("No commit waits for approval.")


def _whole(sha: str, waiting: Sequence[WaitingPush]) -> str:
    """Return the waiting commit that begins with these digits; a full name as it is: it may have been approved."""
    sha = sha.lower()
    if len(sha) >= WHOLE:
        return check_sha(sha)
    found = sorted({item.push.after for item in waiting if item.push.after.startswith(sha)})
    if len(sha) < SHORTEST or not found:
        raise InvalidInput(
            f"no waiting commit begins with {sha[:80]!r} (at least {SHORTEST} digits are needed);"
            " run the command without SHA to list them"
        )
    if len(found) > 1:
        raise InvalidInput(f"{sha!r} matches {len(found)} waiting commits; give more digits: {', '.join(found)}")
    return found[0]
