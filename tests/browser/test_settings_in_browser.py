"""Tasks of an administrator in a real browser: settings, badges, and a new runner."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from demo_site import Browser, Site, site
from instance import free_port
from selenium.webdriver.common.by import By

from core.config import RedisConfig
from web.processes.private_redis import EmbeddedRedis, find_binary
from web.store import runners

pytestmark = pytest.mark.browser
LONG = 60.0


def paste_into(browser: Browser, selector: str, text: str) -> None:
    browser.find(selector).clear()
    browser.find(selector).send_keys(text)


def test_a_badge_is_copied(browser: Browser) -> None:
    grant = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": browser.site.url}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", grant)
    browser.open("/p/cells/settings/")
    browser.driver.find_element(By.LINK_TEXT, "Badge").click()
    browser.wait("document.querySelector('#badge-chosen .copy') !== null", LONG)
    browser.find("#badge-chosen .copy").click()
    browser.wait("document.querySelector('#badge-chosen .copy').textContent === 'Copied'", LONG)
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith("[![")
    assert "/badge/cells.svg" in copied
    assert browser.complaints() == []


def test_old_anchors_lead_to_their_section(browser: Browser) -> None:
    browser.open("/p/cells/settings/#variables")
    browser.wait("location.pathname === '/p/cells/settings/variables/'", LONG)
    browser.open("/p/cells/settings/?metric=accuracy")
    browser.wait("location.pathname + location.search === '/p/cells/settings/badge/?metric=accuracy'", LONG)


def test_a_problem_stands_at_its_field_and_a_success_is_said_once(browser: Browser) -> None:
    browser.open("/p/cells/settings/runs/")
    paste_into(browser, "[name=max_executions]", "many")
    browser.find("[name=max_executions]").submit()
    browser.wait("document.querySelector('label .field-error') !== null", LONG)
    assert "the limit of concurrent executions" in browser.find("label:has([name=max_executions]) .field-error").text
    field = browser.find("[name=max_executions]")
    assert (field.get_attribute("value"), field.get_attribute("aria-invalid")) == ("many", "true")
    paste_into(browser, "[name=max_executions]", "7")
    field.submit()
    browser.wait("document.querySelector('.saved') !== null", LONG)
    assert browser.run("return location.pathname") == "/p/cells/settings/runs/"
    browser.open("/p/cells/settings/runs/")
    assert browser.run("return document.querySelectorAll('.saved').length") == 0
    assert browser.find("[name=max_executions]").get_attribute("value") == "7"


def test_what_the_rules_would_run_follows_the_editor(browser: Browser) -> None:
    browser.open("/p/cells/settings/rules/")
    text = "[[rule]]\nname = 'followed'\nsteps = ['evaluate']\n"
    paste_into(browser, "#rules-text", text)
    browser.wait("document.querySelector('#rules-answer .verdicts')?.textContent.includes('followed')", LONG)
    paste_into(browser, "#rules-text", "[[rule]]\nbranchs = 1")
    browser.wait("document.querySelector('#rules-answer .field-error') !== null", LONG)


@pytest.fixture
def served(demo_site: Site, tmp_path: Path) -> Iterator[Site]:
    """The demo, with a Redis that accepts runners of other machines."""
    data = tmp_path / "data"
    shutil.copytree(demo_site.demo.config.data, data, symlinks=True)
    redis = RedisConfig(listen=f"127.0.0.1:{free_port()}")
    embedded = EmbeddedRedis(data / "redis", find_binary(), redis)
    embedded.start(os.environ)
    try:
        with site(replace(demo_site.demo, config=replace(demo_site.demo.config, data=data, redis=redis))) as running:
            yield running
    finally:
        embedded.stop(5.0)


@pytest.mark.redis
def test_a_runner_is_added_and_turns_green_when_it_reports(served: Site, tmp_path: Path) -> None:
    browser = Browser(tmp_path / "profile", served)
    try:
        browser.look()
        browser.log_in()
        browser.open("/runners/")
        browser.find("#new summary").click()
        paste_into(browser, "#new [name=name]", "a b")
        browser.find("#new [name=name]").submit()
        browser.wait("document.querySelector('#new .field-error') !== null", LONG)
        assert browser.find("#new [name=name]").get_attribute("value") == "a b"
        browser.complaints()  # the console notes the answer 400
        paste_into(browser, "#new [name=name]", "gpu-9")
        browser.find("#new [name=name]").submit()
        browser.wait("document.querySelector('#arrival') !== null", LONG)
        assert 'name = "gpu-9"' in browser.find(".command").text
        assert browser.find("#arrival").text == "waiting for gpu-9…"
        runner = runners.find_by_name(served.db, "gpu-9")
        assert runner is not None
        runners.record_heartbeat(served.db, runner.id, 1, {})
        browser.wait("document.querySelector('#arrival .state.complete') !== null", LONG)
        assert browser.find("#arrival").text == "gpu-9 is online"
        assert browser.complaints() == []
    finally:
        browser.close()


def test_what_a_server_lacks_for_other_machines_is_said_before_the_form(demo_site: Site, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(demo_site.demo.config.data, data, symlinks=True)
    (data / "redis").mkdir()
    (data / "redis" / "url").write_text("redis://127.0.0.1:1/0")
    alone = replace(demo_site.demo.config, data=data, redis=RedisConfig())
    with site(replace(demo_site.demo, config=alone)) as running:
        browser = Browser(tmp_path / "profile", running)
        try:
            browser.look()
            browser.log_in()
            browser.open("/runners/#new")
            browser.find("#new summary").click()
            assert 'listen = "0.0.0.0:6380"' in browser.find("#new .lack .command").text
        finally:
            browser.close()
