"""The form of a run in a real browser, with and without JavaScript."""

from __future__ import annotations

import re

import pytest
from demo_site import Browser, Site
from instance import wait_for
from selenium.webdriver.common.keys import Keys

from web.store import executions
from web.store.db import execute

pytestmark = pytest.mark.browser

COMMAND = "document.querySelector('#command-vh').textContent"


def field(browser: Browser, key: str) -> str:
    """Return the selector of a field; with `-marks`, that of the text beside it."""
    found = browser.find(f'[name="{key}"]:not([type=hidden])')
    return f"#{found.get_attribute('id')}"


def fill(browser: Browser, key: str, text: str) -> None:
    found = browser.find(f'[name="{key}"]')
    found.clear()
    found.send_keys(text)


def form(site: Site, query: str = "step=train") -> str:
    return f"/p/cells/commits/{site.demo.long.commit_identifier}/run/?{query}"


def at_new_execution(browser: Browser) -> int:
    """Return the number of the execution on whose page the browser is."""
    pattern = re.compile(r"/p/cells/executions/(\d+)/$")
    wait_for(lambda: pattern.search(browser.driver.current_url), 10, 0.05)
    found = pattern.search(browser.driver.current_url)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("width", [390, 1280])
def test_running_a_step_with_a_change(browser: Browser, demo_site: Site, width: int) -> None:
    browser.look(width, 900)
    browser.open(f"/p/cells/commits/{demo_site.demo.long.commit_identifier}/")
    browser.find("[aria-label='Run train…']").click()
    browser.wait("document.querySelector('#run') !== null")
    assert browser.run("return document.querySelectorAll('.changed').length") == 0
    fill(browser, "parameter:epochs", "51")
    browser.wait(f"{COMMAND}.includes('--epochs=51')")
    assert browser.find(f"{field(browser, 'parameter:epochs')}-marks").text == "● changed from 40"
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []
    browser.find("button[value=run]").click()
    made = executions.get_by_counter(demo_site.db, demo_site.demo.project.id, at_new_execution(browser))
    assert made.parameters["epochs"] == 51


def test_an_error_appears_beside_its_field_while_typing_and_stays_after_running(
    browser: Browser, demo_site: Site
) -> None:
    browser.open(form(demo_site))
    fill(browser, "parameter:batch_size", "many")
    beside = f'document.querySelector("{field(browser, "parameter:batch_size")}-marks").textContent'
    browser.wait(f"{beside}.includes('many is not an integer')")
    browser.find("button[value=run]").click()
    browser.wait("document.querySelector('[aria-invalid]') !== null")
    assert browser.find("[aria-invalid]").get_attribute("value") == "many"


def test_enter_in_a_field_checks_and_does_not_run(browser: Browser, demo_site: Site) -> None:
    browser.open(form(demo_site))
    fill(browser, "title", "By keyboard")
    browser.find("[name=title]").send_keys(Keys.ENTER)
    wait_for(lambda: "By keyboard" in browser.find("#command-vh").text, 10, 0.05)
    assert "/run/?step=train" in browser.driver.current_url
    browser.find("button[value=run]").send_keys(Keys.ENTER)
    assert at_new_execution(browser) > 0


def test_copying_opens_the_form_with_the_values(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.failed))
    browser.find("#re-run summary").click()
    browser.find("#re-run a[href*='/run/']").click()
    browser.wait("document.querySelector('#run') !== null")
    assert browser.find("[name='parameter:size']").get_attribute("value") == "512"
    assert browser.find(f"{field(browser, 'parameter:size')}-marks").text == "● changed from 224"
    assert f"#{demo_site.demo.failed.counter}" in browser.find(".facts").text


def test_only_the_fields_of_the_chosen_style_are_shown(browser: Browser, demo_site: Site) -> None:
    browser.open(form(demo_site, "task=lr-search"))
    shown = (
        "[...document.querySelector('[name=\"style:learning_rate\"]').closest('.variant')"
        ".querySelectorAll('.given input, .given textarea')].filter((one) => one.checkVisibility()).map((one) => one.name)"
    )
    assert browser.run(f"return {shown}") == [
        f"rule:{rule}:learning_rate" for rule in ("start", "end", "base", "count")
    ]
    browser.find("[name='style:learning_rate'] [value=multiple]").click()
    assert browser.run(f"return {shown}") == ["items:learning_rate"]
    browser.find("[name='style:learning_rate'] [value=single]").click()
    assert browser.run(f"return {shown}") == ["parameter:learning_rate"]


def test_several_run_again_and_stay_chosen_while_the_table_is_kept_fresh(browser: Browser, demo_site: Site) -> None:
    done = [demo_site.demo.long, demo_site.demo.failed]
    browser.open("/p/cells/")
    for execution in done:
        browser.run(
            f"document.querySelector('.picked[value=\"{execution.counter}\"]').scrollIntoView({{block: 'center'}})"
        )
        browser.find(f".picked[value='{execution.counter}']").click()
    execute(demo_site.db, "UPDATE execution SET title = 'fresh' WHERE id = ?", (demo_site.demo.queued.id,))
    browser.wait("document.querySelector('#table').textContent.includes('fresh')")
    assert browser.run("return document.querySelectorAll('.picked:checked').length") == 2
    before = [len(executions.list_reruns(demo_site.db, one.id)) for one in done]
    browser.find("#chosen [formaction*=again]").click()
    wait_for(
        lambda: [len(executions.list_reruns(demo_site.db, one.id)) for one in done] == [n + 1 for n in before], 10, 0.05
    )


def test_without_javascript_a_step_is_checked_and_run(scriptless: Browser, demo_site: Site) -> None:
    scriptless.open(form(demo_site))
    fill(scriptless, "parameter:epochs", "0x")
    scriptless.find("button.no-script").click()
    wait_for(lambda: "0x is not an integer" in scriptless.driver.page_source, 10, 0.05)
    fill(scriptless, "parameter:epochs", "52")
    scriptless.find(".picker summary").click()
    fill(scriptless, "search", "model")
    scriptless.find(".picker .inline button").click()
    wait_for(lambda: "--epochs=52" in scriptless.driver.page_source, 10, 0.05)
    scriptless.find("[name=pick]").click()
    scriptless.find("[name=pick-for] [value=weights]").click()
    scriptless.find("[name=pick-for] ~ button").click()
    wait_for(lambda: "--weights=datum://" in scriptless.driver.page_source, 10, 0.05)
    scriptless.find("button[value=run]").click()
    made = executions.get_by_counter(demo_site.db, demo_site.demo.project.id, at_new_execution(scriptless))
    assert made.parameters["epochs"] == 52
    assert made.inputs["weights"]["urls"][0].startswith("datum://")
