from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from demo import Demo, fill
from demo_site import Browser, Site, site

from core import locks


@pytest.fixture(scope="module")
def demo_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fresh copy of the filled demo, so that no file sees changes by the tests of another."""
    base = tmp_path_factory.getbasetemp()
    demo = _filled((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo")
    own = tmp_path_factory.mktemp("site") / "data"
    shutil.copytree(demo.config.data, own, symlinks=True)
    with site(replace(demo, config=replace(demo.config, data=own))) as running:
        yield running


def _filled(directory: Path) -> Demo:
    """The demo, filled by one worker for all."""
    found = directory / "demo.pickle"
    with locks.hold(directory / "lock"):
        if not found.exists():
            found.write_bytes(pickle.dumps(fill(directory / "data")))
        return pickle.loads(found.read_bytes())


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def logged_in(chromium: Browser, demo_site: Site) -> Iterator[Browser]:
    chromium.site = demo_site
    chromium.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})  # those of another site's port count here too
    chromium.look()
    chromium.log_in()
    yield chromium
    chromium.driver.get("about:blank")  # before its server ends


@pytest.fixture
def browser(logged_in: Browser) -> Browser:
    """A browser with a wide window and the light theme, logged in, whose console is empty."""
    logged_in.look()
    logged_in.complaints()
    return logged_in


@pytest.fixture
def scriptless(browser: Browser) -> Iterator[Browser]:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    yield browser
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
