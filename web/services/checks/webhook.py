"""Check a project's webhook: that it exists, which events it sends, and that a delivery arrives."""

from __future__ import annotations

import time
from collections.abc import Iterator

from core.errors import ForgeError, InvalidDelivery
from core.model import EventKind
from core.units import format_duration
from hooks.apis.base import Webhook
from hooks.apis.client import Client
from hooks.forges.registry import FORGES, PLAIN
from web.services.checks.finding import Finding
from web.services.checks.subject import Subject, make_finding
from web.services.forges import webhook_setup
from web.services.presentation import formats
from web.services.repositories import hosting
from web.services.repositories.commit_head import Head
from web.services.repositories.credentials import Access
from web.store import deliveries, pushes
from web.store.deliveries import Delivery, DeliveryState

ARRIVAL_S = 10.0  # time for a test delivery to arrive
HANDLED_S = 3.0  # time for the worker to handle it: the last delivery is reported next
POLL_S = 0.1
LEVELS = {DeliveryState.REFUSED: "fail", DeliveryState.FAILED: "fail", DeliveryState.STORED: "warn"}
TESTS = ("ping", "push")  # events that forges send as test deliveries


def check(subject: Subject, access: Access, client: Client, head: Head | None) -> Iterator[Finding]:
    """Yield findings on the webhook, and on a test delivery requested from the forge."""
    name, url = "webhook", webhook_setup.make_webhook_url(subject.context.config, subject.project, subject.repository)
    page, list_page = hosting.get_new_webhook_page(subject.repository), hosting.get_webhooks_page(subject.repository)
    if not url:
        yield Finding(check=name, level="fail", message="it cannot be created", advice="see the line above")
        return
    try:
        found = webhook_setup.find_webhook(access, client, url)
    except ForgeError as error:
        yield make_finding(name, error)
        return
    if found is None:
        advice = f"`pushmill project webhook {subject.project.name}` creates it; the page is {page}"
        yield Finding(check=name, level="fail", message=f"the forge has no webhook to {url}", advice=advice)
    elif not found.active:
        advice = f"enable it at {list_page}: forges disable webhooks that are not answered"
        yield Finding(check=name, level="fail", message=f"the webhook to {url} is disabled", advice=advice)
    else:
        yield _events(found, url, list_page)
        yield _test(subject, access, client, found, head)


def _events(found: Webhook, url: str, list_page: str) -> Finding:
    if not found.lacks:
        return Finding(check="webhook", level="ok", message=f"the forge sends deliveries to {url}")
    level = "warn" if found.pushes else "fail"
    message = f"the webhook to {url} does not send: {', '.join(found.lacks)}"
    return Finding(check="webhook", level=level, message=message, advice=f"enable these events at {list_page}")


def _test(subject: Subject, access: Access, client: Client, found: Webhook, head: Head | None) -> Finding:
    """Have the forge send a test delivery; skip it where that is impossible, or would start executions."""
    name = "test delivery"
    call = access.api.test_webhook(access.name, found.id)
    if call is None:
        return Finding(check=name, level="skip", message="the API of this forge sends none")
    if access.api.TEST_IS_A_PUSH and not _ran(subject, head):
        return Finding(check=name, level="skip", message="would run the newest commit, which has not been pushed yet")
    before = deliveries.get_newest_id(subject.context.db)
    try:
        webhook_setup.send_test(access, client, call)
    except ForgeError as error:
        return make_finding(name, error)
    started = time.monotonic()
    while (came := deliveries.find_newest_webhook_after(subject.context.db, subject.repository.id, before)) is None:
        if time.monotonic() - started > min(ARRIVAL_S, subject.left):
            return _lost(subject)
        time.sleep(POLL_S)
    if came.state is DeliveryState.REFUSED:
        advice = f"`pushmill project show {subject.project.name}` prints the secret; enter it at {_list_page(subject)}"
        return Finding(check=name, level="fail", message=f"it arrived and was refused: {came.message}", advice=advice)
    took = time.monotonic() - started
    while deliveries.find_state(
        subject.context.db, came.id
    ) is DeliveryState.STORED and time.monotonic() - started < min(HANDLED_S, subject.left):
        time.sleep(POLL_S)
    return Finding(check=name, level="ok", message=f"arrived after {format_duration(took)}")


def _ran(subject: Subject, head: Head | None) -> bool:
    """Return whether a push of the newest commit is already known, so that repeating it starts nothing."""
    ref = f"refs/heads/{subject.repository.default_branch}"
    newest = pushes.list_for_ref(subject.context.db, subject.repository.id, EventKind.PUSH, ref, 1)
    return head is not None and any(push.after == head.info.sha and push.delivery_id is not None for push in newest)


def _lost(subject: Subject) -> Finding:
    message = f"the forge sent it, but it did not arrive within {ARRIVAL_S:g} s"
    advice = (
        "check that the server runs and no firewall is in between; some forges do not call private addresses"
        f" (docs/pushing.md names the setting); {_list_page(subject)} shows the answer that it got"
    )
    return Finding(check="test delivery", level="fail", message=message, advice=advice)


def check_last_delivery(subject: Subject) -> Finding:
    name, repository = "last delivery", subject.repository
    found = deliveries.find_last_webhook(subject.context.db, repository.id)
    if found is None:
        page = _list_page(subject)
        where = f" ({page})" if page else ""
        advice = f"push something; if nothing arrives, the forge's page of webhooks{where} shows the answer that it got"
        if not subject.is_on_forge:
            advice = "push something; `pushmill hook install` on the repository's machine reports its pushes at once"
        return Finding(check=name, level="warn", message="none has arrived yet", advice=advice)
    summary = f"{formats.format_age(found.received_at)}: {found.event or found.source}, {found.state}"
    message = f"{summary}: {found.message}" if found.message else summary
    if found.state is DeliveryState.IGNORED and _is_about_another(subject, found):
        advice = f"if that is its name now: `pushmill project set-url {subject.project.name} URL`"
        return Finding(check=name, level="fail", message=message, advice=advice)
    if found.state is DeliveryState.IGNORED and not deliveries.has_accepted_any(subject.context.db, repository.id):
        advice = f"no delivery has reported a push yet: {_list_page(subject)} shows which events the forge sends"
        is_test = found.event in TESTS
        return Finding(check=name, level="ok" if is_test else "warn", message=message, advice="" if is_test else advice)
    level = LEVELS.get(found.state, "ok")
    advice = f"the page /p/{subject.project.name}/deliveries/{found.id}/ has the details" if level != "ok" else ""
    return Finding(check=name, level=level, message=message, advice=advice)


def _is_about_another(subject: Subject, found: Delivery) -> bool:
    """Return whether a delivery names another repository than the project's."""
    whole = deliveries.get(subject.context.db, found.id)
    if whole is None or whole.pruned:
        return False
    try:
        named = FORGES.get(whole.source, PLAIN).full_name(whole.headers, whole.body)
    except InvalidDelivery:
        return False
    known = subject.repository.full_name
    return bool(named and known and named.lower() != known.lower())


def _list_page(subject: Subject) -> str:
    return hosting.get_webhooks_page(subject.repository)
