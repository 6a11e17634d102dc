"""The rules in the settings: showing and changing them, and the dry run."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta

import by_hand
import pytest
from api_server import ApiServer
from instance import Checkout
from site_client import Person

from core.model import PushEvent
from web.config.pipelines import plan as pipeline_plan
from web.config.steps.parse import parse
from web.config.steps.resolve import resolve
from web.config.tasks import plan as task_plan
from web.http.pages.rules_section import START
from web.services.repositories import hosting
from web.services.triggers import schedule
from web.store import deliveries, projects, pushes
from web.store.db import transaction
from web.store.pushes import NewPush

SETTINGS = "/p/demo/settings/"
RULES = """[[rule]]
name = "main"
branches = ["main"]
paths = ["src/**"]
steps = ["Train*"]
priority = 4
parameters = { steps = 7 }
cancel_older = true
[[rule]]
name = "nightly"
schedule = "0 3 * * *"
"""
YAML = """- step:
    name: Train model
    image: busybox
    command: train {parameters}
    parameters: [{name: steps, type: integer, default: 1}]
- step: {name: check, image: busybox, command: check}
"""
# with a name that is no markup
GROUPS = """- task:
    name: s<i>earch
    step: Train model
    parameters: [{name: steps, style: multiple, rules: {items: [1, 2]}}]
- pipeline:
    name: full
    nodes: [{name: a, type: execution, step: check}, {name: b, type: execution, step: Train model}]
    edges: [[a.output.*, b.dependency.a]]
"""


@pytest.fixture
def person(api: ApiServer, checkout: Checkout) -> Person:
    """Logged in; the project has a commit on main that changes src/a, and one on the branch docs that does not."""
    path = hosting.get_repository_path(api.config, hosting.get_repository(api.db, api.demo))
    checkout.git("init", "-q", "--bare", "-b", "main", str(path))
    checkout.commit({"valohai.yaml": YAML, "src/a": "1"})
    checkout.git("push", "-q", str(path), "main")
    checkout.commit({"docs/a": "1"})
    checkout.git("push", "-q", str(path), "HEAD:refs/heads/docs")
    person = Person(api)
    person.log_in()
    return person


def stored(api: ApiServer) -> str:
    return projects.get(api.db, api.demo.id).rules


def words(page: str) -> str:
    """What the rules' section says."""
    section = page.split('<section id="rules"')[1].split("</section>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", section)).split())


def test_without_rules_the_page_says_what_happens_and_offers_words_to_begin_with(
    api: ApiServer, person: Person
) -> None:
    page = person.get(f"{SETTINGS}rules/").text
    assert "default Pushes and pull requests to any branch: runs every step." in words(page)
    assert START.strip() in html.unescape(page)
    assert person.post(f"{SETTINGS}rules", SETTINGS, rules=START.replace("\n", "\r\n")).status_code == 303
    assert stored(api) == ""


def test_rules_are_saved_and_told_in_words_with_the_next_time_of_a_schedule(api: ApiServer, person: Person) -> None:
    answer = person.post(f"{SETTINGS}rules", SETTINGS, rules=RULES.replace("\n", "\r\n"))
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{SETTINGS}rules/")
    assert stored(api) == RULES
    said = words(person.get(f"{SETTINGS}rules/").text)
    assert (
        "main Pushes and pull requests to main that change src/**: runs step Train* with priority 4 and with steps = 7."
        " Older runs of these are cancelled."
    ) in said
    assert re.search(r"Next: 20\d\d-\d\d-\d\d 03:00:00 UTC", said)


def test_a_text_that_cannot_be_used_changes_nothing_and_is_kept_with_the_reason(api: ApiServer, person: Person) -> None:
    person.post(f"{SETTINGS}rules", SETTINGS, rules=RULES)
    answer = person.post(f"{SETTINGS}rules", SETTINGS, rules='[[rule]]\nname = "<b>"\nbranchs = ["main"]')
    assert answer.status_code == 400
    assert 'rule <b>: there is no key "branchs": did you mean "branches"?' in words(answer.text)
    assert "<b>" not in answer.text
    assert 'branchs = ["main"]' in html.unescape(answer.text)
    assert stored(api) == RULES


def test_without_the_form_s_token_nothing_is_saved_or_tried(api: ApiServer, person: Person) -> None:
    for path in ("rules", "rules/try"):
        assert person.client.post(f"{SETTINGS}{path}", data={"rules": RULES}).status_code == 403
    assert stored(api) == ""


def test_a_dry_run_says_of_each_rule_whether_it_matches_what_runs_and_what_stops(
    api: ApiServer, person: Person
) -> None:
    answer = person.post(f"{SETTINGS}rules/try", SETTINGS, rules=RULES, name="main")
    assert answer.status_code == 200
    said = words(answer.text)
    assert "push to main" in said
    assert "matches main branch main matches main; src/a changed, which matches src/**" in said
    assert "no match nightly runs only for schedule, not for a push" in said
    assert "Train model runs in default priority 4 by rule main steps 7" in said
    assert stored(api) == ""  # the text was tried and not saved
    said = words(person.post(f"{SETTINGS}rules/try", SETTINGS, rules=RULES, name="docs").text)
    assert "no match main runs only for branch main, not docs" in said
    said = words(person.post(f"{SETTINGS}rules/try", SETTINGS, rules=RULES, name="docs", branch="main").text)
    assert "no match main runs only for changes of src/**, not docs/a" in said


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": "none"}, "there is no commit, branch or tag 'none' here"),
        ({"name": ""}, "there is no commit, branch or tag '' here"),
        ({"name": "main", "event": "tag"}, "'main' is not a tag"),
        ({"name": "main", "event": "x"}, "event must be one of push, tag, pull_request, schedule:nightly, got 'x'"),
        ({"name": "main", "event": "schedule:x"}, "name the rule of the schedule: schedule:nightly"),
        ({"name": "main", "rules": "x ="}, "the rules are not valid TOML"),
    ],
)
def test_a_question_without_an_answer_says_why(person: Person, form: dict[str, str], said: str) -> None:
    answer = person.post(f"{SETTINGS}rules/try", SETTINGS, **({"rules": RULES} | form))
    assert answer.status_code == 400
    assert said in words(answer.text)


def test_a_project_to_which_nothing_was_pushed_says_so(api: ApiServer) -> None:
    person = Person(api)
    person.log_in()
    answer = person.post(f"{SETTINGS}rules/try", SETTINGS, rules=RULES, name="main")
    assert "nothing of project demo has been pushed or fetched yet" in words(answer.text)


def test_the_delivery_of_a_schedule_says_that_its_time_had_come(api: ApiServer, person: Person) -> None:
    with transaction(api.db):
        projects.set_rules(api.db, api.demo.id, RULES)
    schedule.store_due(api.db, datetime.now(UTC) + timedelta(days=1))
    (delivery,) = deliveries.list_deliveries(api.db, api.demo.id)
    page = html.unescape(person.get(f"/p/demo/deliveries/{delivery.id}/").text)
    assert "not needed: created by a schedule" in page
    assert '"rule": "nightly"' in page


def test_tasks_and_pipelines_are_told_with_what_they_make_and_stop(
    api: ApiServer, person: Person, checkout: Checkout
) -> None:
    path = hosting.get_repository_path(api.config, hosting.get_repository(api.db, api.demo))
    checkout.commit({"valohai.yaml": YAML + GROUPS})
    checkout.git("push", "-q", str(path), "HEAD:refs/heads/groups")
    rules = '[[rule]]\nname = "r"\ntasks = ["*"]\npipelines = ["*"]\ncancel_older = true\n'
    form = {"rules": rules, "name": "groups"}
    said = words(person.post(f"{SETTINGS}rules/try", SETTINGS, **form).text)
    assert "push to groups" in said
    assert ": 1 task and 1 pipeline" in said
    assert (
        "task s<i>earch runs in default by rule r 2 executions of step Train model by grid search, varying steps"
        in said
    )
    assert "pipeline full runs in the environments of its nodes by rule r nodes a (check), b (Train model)" in said
    with transaction(api.db):
        event = PushEvent(ref="refs/heads/groups", before="0" * 40, after=api.commit.identifier, identity="x")
        push = pushes.add_push(
            api.db,
            NewPush(repository_id=hosting.get_repository(api.db, api.demo).id, event=event),
        )
        config = parse((YAML + GROUPS).encode()).config
        searching = task_plan.plan(config, "s<i>earch")
        by_hand.launched(api.context, api.demo, api.commit, searching, api.admin, push_id=push)
        full = pipeline_plan.plan(config, "full")
        by_hand.launched(api.context, api.demo, api.commit, full, api.admin, push_id=push)
    page = person.post(f"{SETTINGS}rules/try", SETTINGS, **form).text
    assert "Cancels !1 task s<i>earch , =1 pipeline full ." in words(page)
    assert 'href="/p/demo/tasks/1/"' in page
    assert 'href="/p/demo/pipelines/1/"' in page
    assert "<i>" not in page


def test_what_would_be_stopped_is_named(api: ApiServer, person: Person, checkout: Checkout) -> None:
    repository = hosting.get_repository(api.db, api.demo)
    with transaction(api.db):
        event = PushEvent(ref="refs/heads/main", before="0" * 40, after=api.commit.identifier, identity="x")
        push = pushes.add_push(api.db, NewPush(repository_id=repository.id, event=event))
        resolved = resolve(api.commit.config, "Train model")
        by_hand.execution(api.context, api.demo, api.commit, resolved, api.admin, push_id=push)
    said = words(person.post(f"{SETTINGS}rules/try", SETTINGS, rules=RULES, name="main").text)
    assert "Cancels #1 Train model ." in said
