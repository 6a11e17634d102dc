"""Shortcuts and the palette: everything that they do is a link or a button, too."""

from __future__ import annotations

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
