from __future__ import annotations

from collections.abc import Iterator

import pytest
from demo_site import Browser, Site, site


@pytest.fixture(scope="session")
def demo_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def chromium(demo_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"), demo_site)
    browser.look()
    browser.log_in()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """Wide, light, logged in, and with a console in which nothing has been said."""
    chromium.look()
    chromium.complaints()
    return chromium
