"""Open pages show changes as they happen, and never disturb the user."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from demo_site import Browser, Site
from instance import wait_for
from selenium.webdriver.common.keys import Keys
from serving import Serving

from core import clock
from core.model import EventKind, Project, PushEvent
from web.http import changes
from web.http.app import create_app
from web.store import commits, executions, projects, pushes, runners
from web.store.commits import NewCommit
from web.store.db import execute, transaction
from web.store.pushes import NewPush

pytestmark = pytest.mark.browser

SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const shift of list.getEntries()) {
    const source = ({ node, previousRect, currentRect }) =>
      [node?.outerHTML?.slice(0, 100) ?? String(node), JSON.stringify(previousRect), JSON.stringify(currentRect)];
    window.shifts.push([shift.value, ...shift.sources.map(source)]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""


def push(site: Site, project: Project, message: str) -> str:
    """A push that another process records; returns its commit."""
    db, repository = site.db, projects.list_repositories(site.db, project.id)[0].id
    sha = hashlib.sha1(uuid.uuid4().bytes).hexdigest()
    new = NewCommit(
        project_id=project.id, repository_id=repository, identifier=sha, ref="main", message=message, author="Ada",
        committed_at="2026-11-22T23:39:48.000000Z", yaml_path="valohai.yaml", config_state="ok", config=None, problems=(),
    )  # fmt: skip
    event = PushEvent(
        kind=EventKind.PUSH, ref="refs/heads/main", before="0" * 40, after=sha, pusher="ada", message=message,
        identity=str(uuid.uuid4()),
    )  # fmt: skip
    with transaction(db):
        commit = commits.upsert_commit(db, new)
        pushed = pushes.add_push(db, NewPush(repository_id=repository, event=event))
        execute(db, "UPDATE push SET commit_id = ? WHERE id = ?", (commit.id, pushed))
    return sha


def streams(site: Site) -> int:
    watch: changes.ChangeWatch = site.app.extensions[changes.WATCH]
    return len(watch.followers)


def test_an_idle_page_notices_a_push(browser: Browser, demo_site: Site) -> None:
    project = projects.get_by_name(demo_site.db, "spirals")
    browser.open("/p/spirals/commits/")
    browser.run("document.querySelector('h1').dataset.old = 1")
    sha = push(demo_site, project, "Straighten the spirals")
    browser.wait(f"document.getElementById('commit-{sha}')?.textContent.includes('Straighten the spirals')")
    assert browser.run("return document.querySelector('h1').dataset.old") == "1"  # in place
    assert browser.run(f"return document.getElementById('commit-{sha}').matches(':first-child')")
    assert browser.complaints() == []


def test_the_first_page_notices_a_push(browser: Browser, demo_site: Site) -> None:
    browser.open("/")
    push(demo_site, projects.get_by_name(demo_site.db, "spirals"), "Wind them up again")
    browser.wait("document.getElementById('project-spirals').textContent.includes('Wind them up again')")
    assert browser.complaints() == []


def test_the_page_of_runners_notices_that_one_is_gone_and_that_it_is_back(browser: Browser, demo_site: Site) -> None:
    runner = runners.find_by_name(demo_site.db, "gpu-1")
    assert runner is not None
    state = "document.querySelector('#runner-gpu-1 .state').textContent"
    runners.record_heartbeat(demo_site.db, runner.id, 4, runner.info)
    browser.open("/runners/")
    browser.wait(f"{state} === 'online'")
    runners.presume_silent(demo_site.db, runner.id, 600)
    browser.wait(f"{state} === 'offline'")
    runners.record_heartbeat(demo_site.db, runner.id, 4, runner.info)
    browser.wait(f"{state} === 'online'")
    assert browser.complaints() == []


def test_a_click_in_the_table_does_not_freeze_it_and_what_one_chose_stays(browser: Browser, demo_site: Site) -> None:
    db, demo = demo_site.db, demo_site.demo
    browser.open(f"/p/{demo.project.name}/")
    row = f"document.getElementById('execution-{demo.queued.counter}')"
    browser.find("#table .picked").click()
    chosen = browser.run("return document.querySelector('.picked:checked').value")
    browser.run(f"getSelection().selectAllChildren({row}.querySelector('.c-commit'))")
    selected = browser.run("return String(getSelection())")
    browser.find("#table").send_keys("")  # the focus is in the table
    browser.run(f"{row}.dataset.old = 1")
    execution = executions.get(db, demo.queued.id)
    with transaction(db):
        executions.update(db, execution, priority=1 - execution.priority)
        execute(db, "UPDATE execution SET title = 'renamed meanwhile' WHERE id = ?", (demo.queued.id,))
    browser.wait(f"{row}.textContent.includes('renamed meanwhile')")
    assert browser.run(f"return {row}.dataset.old") == "1"
    assert browser.run("return document.querySelector('.picked:checked').value") == chosen
    assert selected
    assert browser.run("return String(getSelection())") == selected
    assert browser.complaints() == []


def test_what_one_types_is_not_disturbed_and_the_page_catches_up_afterwards(browser: Browser, demo_site: Site) -> None:
    runner = runners.find_by_name(demo_site.db, "gpu-1")
    assert runner is not None
    runners.record_heartbeat(demo_site.db, runner.id, 4, runner.info)
    browser.open("/runners/")
    browser.find("#h-new").click()
    name = browser.find("[name=name]")
    name.send_keys("gpu-")
    fetched = "performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/runners/')).length"
    before = browser.run(f"return {fetched}")
    browser.run("window.other = new EventSource(document.body.dataset.changes)")
    browser.run("other.addEventListener('changed', () => { window.changed = true; other.close(); })")
    wait_for(lambda: streams(demo_site) == 2)
    runners.presume_silent(demo_site.db, runner.id, 600)
    browser.wait("window.changed")
    name.send_keys("17")
    assert browser.run("return document.activeElement.name") == "name"
    assert browser.run(f"return {fetched}") == before  # held back
    name.send_keys(Keys.TAB, Keys.TAB, Keys.TAB, Keys.TAB, Keys.TAB)
    browser.wait("document.querySelector('#runner-gpu-1 .state').textContent === 'offline'")
    assert name.get_attribute("value") == "gpu-17"
    assert browser.run("return document.querySelector('.new-runner details').open")
    runners.record_heartbeat(demo_site.db, runner.id, 4, runner.info)


def test_typing_in_the_filter_is_not_disturbed(browser: Browser, demo_site: Site) -> None:
    demo = demo_site.demo
    browser.open(f"/p/{demo.project.name}/")
    typed = browser.find("#q")
    typed.send_keys("accuracy > ")
    with transaction(demo_site.db):
        execute(demo_site.db, "UPDATE execution SET title = 'while one types' WHERE id = ?", (demo.queued.id,))
    wait_for(lambda: streams(demo_site))
    typed.send_keys("0.9")
    assert browser.run("return [document.activeElement.id, document.activeElement.value]") == ["q", "accuracy > 0.9"]
    browser.run("document.activeElement.blur()")
    row = f"document.getElementById('execution-{demo.queued.counter}')"
    browser.wait(f"{row}.textContent.includes('while one types')")
    assert typed.get_attribute("value") == "accuracy > 0.9"


@pytest.fixture
def other_server(demo_site: Site) -> Iterator[Any]:
    """A server that can be stopped and started again on its port."""

    class Restarted:
        server = Serving(create_app(demo_site.demo.config))
        url = f"http://127.0.0.1:{server.port}"

        def start(self) -> None:
            self.server = Serving(create_app(demo_site.demo.config), port=self.server.port)

    found = Restarted()
    yield found
    found.server.stop()


def test_a_page_left_open_over_a_restart_becomes_right(browser: Browser, demo_site: Site, other_server: Any) -> None:
    browser.driver.get(f"{other_server.url}/p/spirals/commits/")
    browser.wait("document.querySelector('#commits') !== null")
    seen = push(demo_site, projects.get_by_name(demo_site.db, "spirals"), "Before the restart")
    browser.wait(f"document.getElementById('commit-{seen}') !== null")
    other_server.server.stop()
    browser.wait("!document.getElementById('updates').hidden")
    assert browser.find("#updates").text.startswith("Connection lost")
    missed = push(demo_site, projects.get_by_name(demo_site.db, "spirals"), "During the restart")
    other_server.start()
    browser.wait(f"document.getElementById('commit-{missed}') !== null")
    browser.wait("document.getElementById('updates').hidden")


# as many as tabs of one browser may have
OTHER_STREAMS = "Object.fromEntries(['a', 'b', 'c', 'd'].map((tab) => [tab, Date.now() + 10_000]))"


def test_beyond_a_few_streams_of_a_browser_a_page_polls_and_says_so(browser: Browser, demo_site: Site) -> None:
    browser.open("/p/spirals/commits/")
    browser.run(f"localStorage.setItem('pushmill-streams', JSON.stringify({OTHER_STREAMS})); location.reload()")
    browser.wait("document.getElementById('updates').textContent.startsWith('Updates every 10 s')")
    sha = push(demo_site, projects.get_by_name(demo_site.db, "spirals"), "Seen by polling")
    browser.wait(f"document.getElementById('commit-{sha}') !== null", 40)
    browser.run("localStorage.removeItem('pushmill-streams')")
    browser.wait("document.getElementById('updates').hidden")
    assert streams(demo_site) == 1


@pytest.mark.parametrize("page", ["commits/", "executions/{}/"])
def test_a_page_says_that_one_is_logged_out(browser: Browser, demo_site: Site, page: str) -> None:
    browser.open("/projects")
    browser.run(f"localStorage.setItem('pushmill-streams', JSON.stringify({OTHER_STREAMS}))")  # so that the page polls
    browser.open(f"/p/{demo_site.demo.project.name}/{page.format(demo_site.demo.live.counter)}")
    said = "document.getElementById(document.getElementById('updates') ? 'updates' : 'connection')"
    browser.wait(f"/every (2|10) s/.test({said}.textContent)")
    session = browser.driver.get_cookies()
    browser.run(f"window.said = []; new MutationObserver(() => said.push({said}.textContent))"
                f".observe({said}, {{ childList: true }})")  # fmt: skip
    browser.driver.delete_all_cookies()
    browser.wait("said.some((text) => text.includes('ogged out'))")
    assert not any("lost" in text for text in browser.run("return said"))
    for cookie in session:
        browser.driver.add_cookie(cookie)
    browser.wait(f"!{said}.textContent.includes('ogged out')")
    browser.run("localStorage.removeItem('pushmill-streams')")


@pytest.fixture(scope="module")
def whole(demo_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"), demo_site, whole=True)
    try:
        browser.log_in()
        yield browser
    finally:
        browser.close()


@pytest.fixture
def tabs(whole: Browser, logged_in: Browser) -> Iterator[Browser]:
    """A browser that hides a page behind another one, and alone has a stream."""
    logged_in.driver.get("about:blank")
    yield whole
    whole.driver.get("about:blank")


def test_a_hidden_page_has_no_stream_and_is_right_when_it_is_looked_at(tabs: Browser, demo_site: Site) -> None:
    tabs.open("/p/spirals/commits/")
    wait_for(lambda: streams(demo_site) == 1)
    page = tabs.driver.current_window_handle
    tabs.driver.switch_to.new_window("tab")
    other = tabs.driver.current_window_handle
    try:
        wait_for(lambda: streams(demo_site) == 0)
        sha = push(demo_site, projects.get_by_name(demo_site.db, "spirals"), "While nobody looks")
    finally:
        tabs.driver.close()
        tabs.driver.switch_to.window(page)
    assert other != page
    tabs.wait(f"document.getElementById('commit-{sha}') !== null")
    wait_for(lambda: streams(demo_site) == 1)


@pytest.fixture
def watched(whole: Browser) -> Iterator[Browser]:
    """A browser that notes each layout shift of its pages."""
    added = whole.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SHIFTS})
    yield whole
    whole.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    whole.driver.get("about:blank")  # which has no stream


def shifts(browser: Browser) -> Any:
    """Layout shifts since the page was requested, once all frames have been drawn.

    A number at the right edge that gets another digit begins further left, and now and then, on a busy machine, the
    header is one space wider in its first frame: of the page, less than five ten-thousandths move. That does not count,
    and nothing else is as small.
    """
    browser.wait_for_frames()
    return [shift for shift in browser.run("return window.shifts") if shift[0] > 5e-4]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("tab", ["", "log/", "charts/", "resources/"])
def test_nothing_moves_on_the_page_of_a_running_execution(
    watched: Browser, demo_site: Site, tab: str, width: int
) -> None:
    watched.look(width, 800)
    demo_site.hear(demo_site.demo.live)
    watched.open(demo_site.page(demo_site.demo.live, tab))
    watched.wait("document.readyState === 'complete'")
    value = "document.querySelector('#main-metric b')?.textContent"
    key = watched.run("return document.querySelector('#main-metric').dataset.key")
    for digits in (4, 2, 4):
        before = watched.run(f"return {value}")
        demo_site.say(json.dumps({"epoch": 20, key: round(random.uniform(0.1, 0.9), digits)}) + "\n")
        watched.wait(f"{value} !== {json.dumps(before)}")
    if tab in ("", "charts/"):
        watched.wait("document.querySelector('.chart canvas') !== null")
    assert shifts(watched) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_moves_when_a_runner_goes_silent_and_when_it_is_back(
    watched: Browser, demo_site: Site, width: int
) -> None:
    db, live = demo_site.db, demo_site.demo.live
    watched.look(width, 800)
    demo_site.hear(live)
    watched.open(demo_site.page(live))
    said = "document.querySelector('.messages').textContent.includes('No contact with the runner')"
    assert not watched.run(f"return {said}")
    with transaction(db):
        execute(db, "UPDATE execution SET lease_expires_at = ? WHERE id = ?", (clock.add_to_now(-120), live.id))
    demo_site.say("still here\n")
    watched.wait(said)
    demo_site.hear(live)
    demo_site.say("back\n")
    watched.wait(f"!{said}")
    assert shifts(watched) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_moves_in_a_table_whose_rows_change(watched: Browser, demo_site: Site, width: int) -> None:
    db, demo = demo_site.db, demo_site.demo
    watched.look(width, 800)
    watched.open(f"/p/{demo.project.name}/")
    state = f"document.querySelector('#execution-{demo.queued.counter} .c-state').textContent"
    for status, word in (("created", "Waiting"), ("error", "Failed"), ("complete", "Succeeded"), ("queued", "Queued")):
        with transaction(db):
            execute(db, "UPDATE execution SET state = ? WHERE id = ?", (status, demo.queued.id))
        watched.wait(f"{state}.includes('{word}')")
    assert shifts(watched) == []
