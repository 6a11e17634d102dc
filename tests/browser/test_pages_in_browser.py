"""Every page in a real browser: none scrolls sideways or breaks its content security policy, all fields have labels."""

from __future__ import annotations

import pytest
from demo_site import Browser, Site
from selenium.webdriver.common.keys import Keys

from web.store import runners

pytestmark = pytest.mark.browser


def every_page(site: Site) -> list[str]:
    demo, project = site.demo, f"/p/{site.demo.project.name}/"
    return [
        "/", "/runners/", "/users/", "/auth/tokens/", "/api/docs/", project,
        f"{project}?sort=m.loss&q=state+%3D+complete", f"{project}?q=los+%3E+1", f"{project}compare/",
        f"{project}compare/?e={demo.long.counter}&e={demo.live.counter}&e={demo.failed.counter}",
        f"{project}commits/", f"{project}settings/",
        f"{project}commits/{demo.long.commit_identifier}/", f"{project}commits/{demo.broken.identifier}/", "/p/spirals/",
        f"{project}activity/", f"{project}activity/?show=problems",
        f"{project}deliveries/{demo.delivery}/", f"{project}settings/badge/?metric=accuracy&step=train", "/environments/",
        *(f"{project}settings/{part}/" for part in ("runs", "rules", "variables", "members", "delete")),
        f"{project}commits/{demo.foreign.identifier}/", "/p/attic-models/settings/", f"{project}tasks/",
        f"{project}tasks/{demo.task.counter}/", f"{project}?q=task+%3D+{demo.task.counter}", f"{project}pipelines/",
        f"{project}pipelines/{demo.pipeline.counter}/", "/p/spirals/tasks/", "/p/spirals/pipelines/",
        *(f"{project}commits/{demo.long.commit_identifier}/run/?{query}" for query in (
            "step=train", "task=lr-search", "pipeline=full", f"step=train&from={demo.queued.counter}")),
        f"{project}commits/{demo.foreign.identifier}/run/?step=train",
        *(site.page(execution) for execution in (demo.long, demo.live, demo.failed, demo.queued)),
        *(site.page(demo.long, f"{tab}/") for tab in ("log", "charts", "outputs", "resources", "configuration")),
    ]  # fmt: skip


UNLABELLED = """return [...document.querySelectorAll('input:not([type=hidden]), select')]
    .filter((field) => !field.labels.length).map((field) => field.name || field.id)"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_no_page_scrolls_sideways_violates_its_policy_or_has_a_field_without_a_label(
    browser: Browser, demo_site: Site, width: int, dark: bool
) -> None:
    browser.look(width, 740, dark=dark)
    for path in every_page(demo_site):
        browser.open(path)
        assert browser.run("return document.documentElement.scrollWidth") <= width, path
        assert browser.run(UNLABELLED) == [], path
        assert browser.complaints() == [], path


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
    runner = runners.by_name(demo_site.db, "gpu-1")
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
    assert "matches" in browser.find("#rules-answer .verdicts").text
    assert browser.find("#rules-answer .planned").text.startswith("evaluate runs in")
    assert browser.run(f"return {text}.value").startswith('[[rule]]\nname = "tried"')
    assert browser.run("return document.documentElement.scrollWidth") <= width
    top = browser.run("return document.querySelector('#rules-answer').getBoundingClientRect().top")
    assert 0 <= top < 900  # it is what one sees
    assert browser.complaints() == []
    browser.open("/p/cells/settings/rules/")
    assert browser.run(f"return {text}.value") == saved
