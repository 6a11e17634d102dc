"""What a newcomer asks first: why did nothing run, and what waits for what?"""

from __future__ import annotations

from typing import Any

import pytest
from demo_site import Browser, Site

pytestmark = pytest.mark.browser


def texts(browser: Browser, selector: str) -> list[str]:
    found: Any = browser.run(
        f"return [...document.querySelectorAll('{selector}')].map((one) => one.textContent.trim())"
    )
    return list(found)


def test_why_did_nothing_run(browser: Browser, demo_site: Site) -> None:
    browser.open(f"/p/{demo_site.demo.project.name}/")
    browser.find(".tabs a[href$='/activity/']").click()
    browser.wait("location.pathname.endsWith('/activity/')")
    everything = texts(browser, "#activity .verdict")
    browser.find(".filters a[href*='problems']").click()
    browser.wait("location.search.includes('problems')")
    bad = texts(browser, "#activity .verdict")
    assert set(bad) < set(everything)
    assert "valohai.yaml line 4: unknown key 'comand' in a step; did you mean 'command'?" in bad
    assert any(text.startswith("rejected: The signature is not valid") for text in bad)
    assert browser.complaints() == []
