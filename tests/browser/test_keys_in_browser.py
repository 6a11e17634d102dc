"""Shortcuts and the palette: everything that they do can also be done with a link or a button."""

from __future__ import annotations

import re

import pytest
from demo_site import Browser, Site
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser


def press(browser: Browser, *keys: str) -> None:
    ActionChains(browser.driver).send_keys(*keys).perform()


def test_two_executions_are_chosen_and_compared_by_keys(browser: Browser, demo_site: Site) -> None:
    browser.open(f"/p/{demo_site.demo.project.name}/")
    press(browser, "j", "x", "j", "x")
    browser.wait("document.querySelectorAll('.picked:checked').length === 2")
    rows = browser.run("return [...document.querySelectorAll('main tr[id]')].map((row) => row.id)")
    assert browser.run("return document.activeElement.closest('tr').id") == rows[1]
    press(browser, "k")
    assert browser.run("return document.activeElement.closest('tr').id") == rows[0]
    press(browser, "c")
    browser.wait("location.pathname.endsWith('/compare/')")
    assert browser.complaints() == []


def test_single_keys_do_nothing_while_one_types_or_has_switched_them_off(browser: Browser, demo_site: Site) -> None:
    browser.open(f"/p/{demo_site.demo.project.name}/")
    press(browser, "/")
    press(browser, "j", "?")
    assert browser.run("return [document.activeElement.id, document.activeElement.value]") == ["q", "j?"]
    browser.run("document.activeElement.blur()")
    press(browser, "?")
    assert browser.find("#keys").is_displayed()
    browser.find("#keys input").click()
    press(browser, Keys.ESCAPE)
    press(browser, "j")
    assert (
        browser.run("return document.querySelector('dialog[open]') === null && document.activeElement.closest('tr')")
        is None
    )
    browser.run("document.getElementById('show-keys').click()")
    browser.find("#keys input").click()
    browser.find("#keys button").click()
    press(browser, "j")
    assert browser.run("return document.activeElement.closest('tr') !== null")
    assert browser.complaints() == []


def test_the_palette_goes_to_a_project_from_any_page(browser: Browser, demo_site: Site) -> None:
    browser.open("/runners/")
    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
    assert browser.run("return document.activeElement.id") == "palette-text"
    press(browser, "spirals")
    browser.wait("document.querySelector('#palette li')?.textContent === 'Project spirals'")
    press(browser, Keys.ENTER)
    browser.wait("location.pathname === '/p/spirals/'")
    assert browser.complaints() == []


# Everything that one can press, choose or type into; the links of log lines are for the mouse, "Line" goes to one by key.
STOPS = """
const all = document.querySelectorAll("a[href], button, summary, input, select, textarea, [tabindex]");
window.missed = new Set([...all].filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled
  && !one.matches("main, .chunk a, [type=radio], [aria-hidden=true]")));
document.addEventListener("focusin", ({ target }) => missed.delete(target));
return missed.size;
"""
MISSED = (
    "[...missed].filter((one) => one.isConnected && one.checkVisibility()).map((one) => one.outerHTML.slice(0, 120))"
)


@pytest.mark.parametrize("page", ["", "log/", "charts/", "outputs/", "project", "compare", "run", "rules", "home"])
def test_tab_reaches_everything_on_a_page(browser: Browser, demo_site: Site, page: str) -> None:
    demo, project = demo_site.demo, f"/p/{demo_site.demo.project.name}/"
    compared = f"{project}compare/?e={demo.long.counter}&e={demo.failed.counter}"
    run = f"{project}commits/{demo.long.commit_identifier}/run/?step=train"
    others = {"project": project, "compare": compared, "run": run, "rules": f"{project}settings/rules/", "home": "/"}
    browser.open(others.get(page) or demo_site.page(demo.long, page))
    browser.wait("document.readyState === 'complete'")
    if page in ("", "charts/"):
        browser.wait("document.querySelector('.plot canvas') !== null", 30)
    stops = browser.run(STOPS)
    assert 5 < stops < 500  # 500 lines of a log are none
    for _ in range(stops // 20 + 3):
        press(browser, Keys.TAB * 20)
    assert browser.run(f"return {MISSED}") == []


def test_a_row_and_a_tab_are_opened_by_keys(browser: Browser, demo_site: Site) -> None:
    browser.open(f"/p/{demo_site.demo.project.name}/")
    press(browser, "j", Keys.ENTER)
    browser.wait("document.querySelector('#execution') !== null")
    browser.run("document.querySelector('.tabs a').focus()")
    press(browser, Keys.TAB, Keys.TAB, Keys.ENTER)
    browser.wait("location.pathname.endsWith('/charts/')")


def test_a_chart_has_a_name_and_a_table_behind_it_by_keys(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "charts/"))
    browser.wait("document.querySelector('.plot canvas') !== null", 30)
    name = browser.run("return document.querySelector('.plot[role=img]').ariaLabel")
    assert re.fullmatch(r"loss over step: [0-9,]+ points, .+ to .+, x from .+ to .+", name)
    browser.run("document.querySelector('.chart-menu summary').focus()")
    press(browser, Keys.ENTER, Keys.TAB, Keys.TAB, Keys.TAB)
    assert browser.run("return document.activeElement.textContent") == "Table of values"
    press(browser, Keys.ENTER)
    browser.wait("document.querySelector('.chart .data-table tr:nth-child(20)') !== null")


def test_a_chart_of_resources_has_a_name_and_a_table_behind_it_by_keys(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "resources/"))
    browser.wait("document.querySelectorAll('#resources canvas').length === 3", 30)
    names = "return [...document.querySelectorAll('#resources [role=img]')].map((chart) => chart.ariaLabel)"
    assert browser.run(names)[:2] == ["CPU cores so far", "Memory so far"]
    heads = "[...document.querySelectorAll('#resources .data-table th')].map((head) => head.textContent).join()"
    for kind in ("gpu_memory", "gpu"):
        browser.run(f"document.querySelector('#resources [data-kind={kind}] button').focus()")
        press(browser, Keys.ENTER)
        browser.wait(f"{heads}.includes('GPU 0,GPU 1')")
        press(browser, Keys.ENTER)
        browser.wait("document.querySelector('#resources .data-table') === null")


def test_the_curve_of_a_task_has_a_name(browser: Browser, demo_site: Site) -> None:
    demo = demo_site.demo
    browser.open(f"/p/{demo.project.name}/tasks/{demo.task.counter}/")
    browser.wait("document.querySelector('#curve canvas') !== null", 30)
    assert (
        browser.run("return document.querySelector('#curve [role=img]').ariaLabel") == "Best accuracy so far, by trial"
    )


def test_the_palette_is_walked_by_arrows_and_left_by_escape(browser: Browser) -> None:
    browser.open("/runners/")
    browser.run(
        "window.ask = fetch; window.fetch = (...asked) => new Promise((go) => (window.go = () => go(ask(...asked))))"
    )
    browser.find("main a, main summary").send_keys("")
    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
    browser.wait("document.querySelectorAll('#palette li').length > 2")
    press(browser, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    chosen = "document.activeElement === document.querySelectorAll('#palette li a')[1]"
    assert browser.run(f"return {chosen}")
    browser.run("document.querySelector('#palette li').dataset.old = 1; go()")
    browser.wait("document.querySelectorAll('#palette li')[0].dataset.old === undefined")  # the projects have come
    assert browser.run(f"return {chosen}")
    press(browser, Keys.ARROW_UP, Keys.ARROW_UP)
    assert browser.run("return document.activeElement.id") == "palette-text"
    press(browser, Keys.ESCAPE)
    assert browser.run("return document.querySelector('dialog[open]')") is None
    assert browser.complaints() == []
