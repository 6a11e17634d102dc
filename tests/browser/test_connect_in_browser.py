"""A newcomer connects a repository on the pages, with a real browser and git server, and a fake of the forge's API."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from demo_site import Browser, Site, site
from fake_forge import FakeForge, running
from fake_forge_apis import TOKEN
from git_over_http import GitServer, served
from instance import Checkout
from selenium.webdriver.common.by import By

from core.config import GitConfig
from web.services.checks import webhook

pytestmark = pytest.mark.browser
LONG = 60.0
STEP = "- step:\n    name: train\n    image: busybox\n    command: echo hello\n"


class Place:
    """The demo, whose forge and whose git server are on this machine too, and a browser."""

    def __init__(self, served_site: Site, forge: FakeForge, git: GitServer, browser: Browser) -> None:
        self.site, self.forge, self.git, self.browser = served_site, forge, git, browser

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            field = self.browser.find(f"main [name={name}]")
            if field.tag_name == "select":
                self.browser.find(f"main [name={name}] [value={value}]").click()
            else:
                field.clear()
                field.send_keys(value)

    def press(self, label: str) -> None:
        buttons = self.browser.driver.find_elements(By.CSS_SELECTOR, "main button, main a")
        next(button for button in buttons if button.text == label).click()

    def at(self, step: str) -> None:
        self.browser.wait(f"document.querySelector('.steps [aria-current]')?.textContent === '{step}'", LONG)

    def rows(self) -> dict[str, str]:
        """Return the result of each check."""
        script = "return [...document.querySelectorAll('.checks li')].map((li) => [li.className, li.innerText])"
        return {text.splitlines()[0].split(":")[0]: level for level, text in self.browser.run(script)}


@pytest.fixture
def place(demo_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(webhook, "HANDLED_S", 0.0)  # there is no worker
    root = tmp_path / "served"
    root.mkdir()
    data = tmp_path / "data"
    shutil.copytree(demo_site.demo.config.data, data, symlinks=True)
    config = replace(demo_site.demo.config, data=data, git=GitConfig(allow_http=True))
    with ExitStack() as stack:
        forge = stack.enter_context(running("github"))
        forge.full_name = "git/model"
        git = stack.enter_context(served(root, "x-access-token", TOKEN))
        here = stack.enter_context(site(replace(demo_site.demo, config=config)))
        server = here.app.extensions["pushmill"]
        own = replace(config, server=replace(config.server, url=here.url))
        here.app.extensions["pushmill"] = replace(server, config=own)
        browser = Browser(tmp_path / "profile", here)
        stack.callback(browser.close)
        browser.look()
        browser.log_in()
        yield Place(here, forge, git, browser)


def test_a_repository_is_connected(place: Place, tmp_path: Path) -> None:
    browser = place.browser
    checkout = Checkout(tmp_path / "checkout")
    checkout.commit({"valohai.yaml": STEP})
    path = place.git.root / "model.git"
    checkout.git("clone", "-q", "--bare", str(checkout.folder), str(path))
    browser.open("/")
    browser.find("details.more summary").click()
    place.press("Connect a repository")
    place.at("Repository")
    place.fill(url="http://not a url", name="kept")
    place.press("Add project")
    browser.wait("document.querySelector('.field-error') !== null", LONG)
    values = browser.run("return ['url', 'name'].map((name) => document.getElementById(name).value)")
    assert values == ["http://not a url", "kept"]
    assert browser.find("#url").get_attribute("aria-invalid") == "true"
    browser.complaints()  # the console notes the answer 400
    place.fill(url=f"{place.git.url}/git/model.git", forge="github", name="")
    place.press("Add project")
    place.at("Access")
    assert browser.find(".saved").text == "Saved"
    place.fill(token=TOKEN, api_url=place.forge.api_url)
    place.press("Save")
    place.at("Webhook")
    assert browser.find(".saved").text == "Saved"
    place.press("Create the webhook")
    browser.wait("document.querySelector('main section p[role=status]') !== null", LONG)
    assert "Created the webhook" in browser.find("main").text
    place.press("Check everything")
    place.at("Checks")
    browser.wait("document.querySelector('#checks') && !document.querySelector('#checks[data-running]')", LONG)
    assert place.rows() == {
        "repository": "ok", "token": "ok", "valohai.yaml": "ok", "status": "ok", "server url": "ok", "webhook": "ok",
        "test delivery": "ok", "last delivery": "warn",  # it waits for the worker
    }  # fmt: skip
    assert browser.find("#checks [role=status]").text.startswith("No check failed, 1 warning")
    assert browser.complaints() == []


def test_a_failed_check_says_what_is_wrong_and_leads_to_the_step_that_mends_it(place: Place) -> None:
    browser, place.forge.token = place.browser, "another"
    browser.open("/connect/")
    place.fill(url=f"{place.git.url}/git/model.git", forge="github")
    place.press("Add project")
    place.at("Access")
    place.fill(token=TOKEN, api_url=place.forge.api_url)
    place.press("Save")
    place.at("Webhook")
    place.press("Create the webhook")
    browser.wait("document.querySelector('.field-error') !== null", LONG)
    assert "the token is wrong or has expired" in browser.find(".field-error").text
    browser.open("/p/model/connect/checks/")
    place.press("Check everything")
    browser.wait("document.querySelector('.checks') && !document.querySelector('#checks[data-running]')", LONG)
    assert place.rows()["repository"] == "fail"
    assert place.rows()["status"] == "skip"
    browser.driver.find_element(By.LINK_TEXT, "Go to step Access").click()
    place.at("Access")
