"""All pages in a real browser: accessible, no wider than the window, and within the content security policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_pages import every_page
from demo_site import Browser, Site
from selenium.webdriver.common.keys import Keys

from web.store import runners, sessions, users
from web.store.db import transaction

pytestmark = pytest.mark.browser


AXE = Path(__file__).parents[2] / ".payloads" / "axe.min.js"
FINDINGS = """
const [rules, done] = arguments;
const what = ({ id, impact, nodes }) => nodes.map(({ target, html, failureSummary }) =>
  [`${id} (${impact}): ${target.join(" ")}`, html.slice(0, 200), failureSummary.slice(0, 300)].join("\\n  "));
const options = { resultTypes: ["violations"] };  // a fifth of the time goes into describing what is right
axe.run(rules.length ? { ...options, runOnly: rules } : options)
  .then(({ violations }) => done(violations.flatMap(what)), (error) => done([String(error)]));
"""
PARTS = 4  # of all pages, so that no test takes long


@pytest.fixture
def axe(browser: Browser) -> Iterator[None]:
    """Each page that is opened has axe-core, which Chromium compiles once."""
    added = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": AXE.read_text()})
    yield
    browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def findings(browser: Browser, *rules: str) -> list[str]:
    """Return the violations that axe-core finds on the open page, by these of its rules or by all."""
    found: list[str] = browser.driver.execute_async_script(FINDINGS, list(rules))
    return found


def complaints(browser: Browser, path: str) -> list[str]:
    """Return the messages in the console, except for the status of an error page."""
    return [said for said in browser.complaints() if f"{path} - Failed to load resource" not in said]


def width_of_content(browser: Browser) -> int:
    width: int = browser.run("return document.documentElement.scrollWidth")
    return width


@pytest.mark.payloads
@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("part", range(PARTS))
def test_axe_finds_nothing_on_any_page_and_none_breaks_its_policy(browser: Browser, demo_site: Site, part: int) -> None:
    found = {}
    for path in every_page(demo_site)[part::PARTS]:
        browser.look()
        browser.open(path)
        browser.run("document.querySelectorAll('main details:not(.menu)').forEach((one) => { one.open = true; })")
        found[path] = findings(browser)
        browser.look(dark=True)
        found[f"{path} in dark"] = findings(browser, "color-contrast", "link-in-text-block")
        assert width_of_content(browser) <= 1280, path
        assert complaints(browser, path) == [], path
    assert {path: said for path, said in found.items() if said} == {}


@pytest.mark.payloads
@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("part", range(PARTS))
def test_axe_finds_nothing_on_a_phone_and_no_page_scrolls_sideways(
    browser: Browser, demo_site: Site, part: int
) -> None:
    found = {}
    for path in every_page(demo_site)[part::PARTS]:
        browser.look(390, 740)
        browser.open(path)
        found[path] = findings(browser)
        for width in (390, 360, 320):
            browser.look(width, 740)
            assert width_of_content(browser) <= width, path
        assert complaints(browser, path) == [], path
    assert {path: said for path, said in found.items() if said} == {}


@pytest.mark.payloads
@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("opened", [
    "document.querySelector('#menu summary').click()", "document.getElementById('keys').showModal()",
    "document.getElementById('palette').showModal()",
])  # fmt: skip
def test_axe_finds_nothing_in_what_opens_above_a_page(browser: Browser, opened: str, width: int) -> None:
    browser.look(width)
    browser.open("/runners/")
    browser.run(opened)
    assert findings(browser) == []
    assert width_of_content(browser) <= width


@pytest.fixture
def logged_out(browser: Browser) -> Iterator[Browser]:
    cookies = browser.driver.get_cookies()
    browser.driver.delete_all_cookies()
    yield browser
    for cookie in cookies:
        browser.driver.add_cookie(cookie)


@pytest.mark.payloads
@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_on_the_pages_of_those_who_are_logged_out(
    logged_out: Browser, demo_site: Site, dark: bool
) -> None:
    with transaction(demo_site.db):
        invitation = sessions.add_invitation(demo_site.db, users.list_users(demo_site.db)[0].id, 3600)
    for path in ("/login", f"/invitations/{invitation}", "/nowhere/", "/api/docs/"):
        logged_out.look(390, dark=dark)
        logged_out.open(path)
        assert findings(logged_out) == [], path


LOADED = """
return performance.getEntries().filter(({ entryType, initiatorType }) =>
  entryType === "navigation" || (entryType === "resource" && ["script", "link", "css", "other"].includes(initiatorType)))
  .map(({ name, decodedBodySize, encodedBodySize }) => [name, decodedBodySize, encodedBodySize]);
"""


@pytest.mark.parametrize("tab", ["", "log/", "charts/", "outputs/", "resources/", "configuration/"])
def test_a_page_of_an_execution_has_at_most_250_kb_with_its_scripts_and_all_of_it_is_compressed(
    browser: Browser, demo_site: Site, tab: str
) -> None:
    browser.open(demo_site.page(demo_site.demo.long, tab))
    browser.wait("document.readyState === 'complete'")
    loaded = browser.run(LOADED)
    assert {name.rpartition("/")[2] for name, _, _ in loaded} >= {"pushmill.css", "execution.js", "stream.js"}
    assert sum(size for _, size, _ in loaded) <= 250_000, loaded
    assert [name for name, size, sent in loaded if size > 1024 and sent >= size] == []


@pytest.mark.parametrize("choice", ["light", "dark"])
def test_the_switch_decides_against_the_system(browser: Browser, choice: str) -> None:
    browser.look(dark=choice == "light")
    browser.open("/")
    browser.find("#menu summary").click()
    browser.find(f".theme [value={choice}]").click()
    browser.wait(f"document.documentElement.dataset.theme === '{choice}'")
    background = browser.run("return getComputedStyle(document.documentElement).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 25)"}[choice]
    browser.find("#menu summary").click()
    browser.find(".theme [value=system]").click()
    browser.wait("document.documentElement.dataset.theme === 'system'")


def test_the_first_tab_stop_skips_to_the_content(browser: Browser) -> None:
    browser.open("/")
    browser.driver.execute_cdp_cmd(
        "Input.dispatchKeyEvent", {"type": "keyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
    )
    assert browser.run("return document.activeElement.className") == "skip"


def test_what_a_person_has_opened_stays_open_while_the_page_is_kept_fresh(browser: Browser, demo_site: Site) -> None:
    browser.open("/runners/")
    browser.run("document.querySelector('#runner-gpu-1 details').open = true")
    runner = runners.find_by_name(demo_site.db, "gpu-1")
    assert runner is not None
    for draining, button in ((True, "Resume"), (False, "Drain")):
        runners.set_draining(demo_site.db, runner.id, draining)
        browser.wait(f"document.querySelector('#runner-gpu-1 .tools button').textContent === '{button}'")
        assert browser.run("return document.querySelectorAll('.runner details[open]').length") == 1


def test_the_badge_that_was_chosen_is_shown_at_once(browser: Browser) -> None:
    browser.open("/p/cells/settings/badge/")
    assert browser.run("return document.querySelector('#badge-choice button').hidden")
    browser.run(
        "const field = document.querySelector('#badge-choice [name=metric]'); field.value = 'accuracy';"
        "field.dispatchEvent(new Event('change', { bubbles: true }))"
    )
    browser.wait(
        "document.querySelector('#badge-chosen pre').textContent.includes('/badge/cells.svg?metric=accuracy)')"
    )
    browser.wait("document.querySelector('#badge-chosen img').naturalWidth > 60")
    assert browser.run("return location.search + location.hash") == "?metric=accuracy"
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [390, 1280])
def test_enter_in_the_question_tries_the_rules_and_saves_nothing(browser: Browser, width: int) -> None:
    browser.look(width, 900)
    browser.open("/p/cells/settings/rules/")
    text = "document.querySelector('#rules-text')"
    saved = browser.run(f"return {text}.value")
    browser.run(f'{text}.value = \'[[rule]]\\nname = "tried"\\nsteps = ["evaluate"]\\n\'')
    browser.find("#rules [name=name]").clear()
    browser.find("#rules [name=name]").send_keys("main", Keys.ENTER)
    browser.wait("document.querySelector('#rules-answer .verdicts')?.textContent.includes('tried')")
    browser.wait("document.readyState === 'complete'", 30)
    # in the page, which may replace the answer by that of its script at any time
    browser.wait("document.querySelector('#rules-answer .verdicts')?.innerText.includes('matches')")
    browser.wait("document.querySelector('#rules-answer .planned')?.innerText.trim().startsWith('evaluate runs in')")
    assert browser.run(f"return {text}.value").startswith('[[rule]]\nname = "tried"')
    assert browser.run("return document.documentElement.scrollWidth") <= width
    top = browser.run("return document.querySelector('#rules-answer').getBoundingClientRect().top")
    assert 0 <= top < 900  # it is what one sees
    assert browser.complaints() == []
    browser.open("/p/cells/settings/rules/")
    assert browser.run(f"return {text}.value") == saved
