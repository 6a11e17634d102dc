"""The header's menu: by keyboard, on a phone, and without JavaScript."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from demo_site import Browser
from instance import wait_for
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser

FOCUSED = "return document.activeElement.textContent"


def press(browser: Browser, *keys: str) -> None:
    ActionChains(browser.driver).send_keys(*keys).perform()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_menu_opens_and_closes_by_keyboard_within_the_window(browser: Browser, width: int) -> None:
    browser.look(width)
    browser.open("/p/cells/")
    browser.run("document.querySelector('#menu summary').focus()")
    press(browser, Keys.ENTER, Keys.TAB)
    assert browser.run(FOCUSED) == "Account"
    box = browser.run("return document.querySelector('#menu > div').getBoundingClientRect().toJSON()")
    assert 0 <= box["left"] < box["right"] <= width
    assert f"pushmill {version('pushmill')}" in browser.find("#menu > div").text
    press(browser, Keys.ESCAPE)
    assert not browser.run("return document.querySelector('#menu').open")
    assert browser.run(FOCUSED) == "admin"
    press(browser, Keys.SPACE)
    browser.run("document.querySelector('h1').click()")
    assert not browser.run("return document.querySelector('#menu').open")
    assert browser.complaints() == []


def test_without_javascript_the_menu_opens_and_sets_the_theme(scriptless: Browser) -> None:
    scriptless.open("/p/cells/commits/")
    for theme in ("dark", "system"):
        scriptless.find("#menu summary").click()
        scriptless.find(f"#menu [value={theme}]").click()
        wait_for(lambda shown=f'data-theme="{theme}"': shown in scriptless.driver.page_source, 10, 0.05)
        assert scriptless.driver.current_url.endswith("/p/cells/commits/")
    scriptless.find("#menu summary").click()
    scriptless.find("#menu a").click()
    wait_for(lambda: scriptless.driver.current_url.endswith("/auth/tokens/"), 10, 0.05)
    assert not scriptless.find("#show-keys").is_displayed()


@pytest.mark.parametrize("width", [390, 1280, 2200])
def test_header_and_content_begin_and_end_at_the_same_lines(browser: Browser, width: int) -> None:
    browser.look(width)
    browser.open("/p/cells/commits/")
    edges = (
        "(box => [box.left + parseFloat(getComputedStyle(one).paddingLeft),"
        " box.right - parseFloat(getComputedStyle(one).paddingRight)])(one.getBoundingClientRect())"
    )
    header, main = (
        browser.run(f"const one = document.querySelector('{name}'); return {edges}") for name in (".top", "main")
    )
    assert header == main


def test_on_paper_a_page_is_light_and_has_neither_header_nor_buttons(browser: Browser) -> None:
    browser.look(800, dark=True)
    browser.open("/p/cells/")
    dark = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    shown = "[...document.querySelectorAll('.top, .tabs, .table-bar, button, .picked')].filter((one) => one.checkVisibility())"
    try:
        assert browser.run(f"return {shown}.length") == 0
        assert browser.run("return getComputedStyle(document.documentElement).color") == "rgb(31, 35, 40)"
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
