"""The first questions of a newcomer: why did nothing run, and what waits for what?"""

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
    assert "valohai.yaml line 4: unknown key 'comand', did you mean 'command'?" in bad
    assert any(text.startswith("rejected: The signature is not valid") for text in bad)
    assert browser.complaints() == []


def test_what_runs_what_waits_and_why(browser: Browser, demo_site: Site) -> None:
    demo = demo_site.demo
    browser.open("/")
    browser.wait("document.querySelectorAll('#running li').length > 0")
    assert any(f"cells #{demo.live.counter}" in text for text in texts(browser, "#running li"))
    # other tests of this site may have queued more
    (waiting,) = (text for text in texts(browser, "#queue li") if f"cells #{demo.queued.counter}" in text)
    assert "There is no runner of environment a100" in waiting
    assert "valohai.yaml line 4: unknown key 'comand', did you mean 'command'?" in texts(browser, "#problems .verdict")
    assert not any("rejected" in text for text in texts(browser, "#problems .verdict"))
    heat = browser.run("return document.querySelector('.heat[aria-label=\"2 of 8 GPUs in use\"] title').textContent")
    assert heat.startswith("GPU 0 NVIDIA A100")
    assert f"cells #{demo.live.counter} train" in heat
    assert browser.complaints() == []


def test_the_bars_of_a_project_lead_to_its_executions(browser: Browser) -> None:
    browser.open("/")
    bar = browser.find("#projects .bars a")
    label = bar.get_attribute("aria-label")
    path = browser.run("return document.querySelector('#projects .bars a').getAttribute('href')")
    browser.open(path)
    assert label.split()[0] in browser.find("h1").text


def test_a_commit_shows_what_is_wrong_at_its_line_and_what_it_changed(browser: Browser, demo_site: Site) -> None:
    browser.open(f"/p/cells/commits/{demo_site.demo.broken.identifier}/")
    (line,) = texts(browser, "#source[open] li:has(.error-text)")
    assert line == "comand: python train.py {parameters}unknown key 'comand', did you mean 'command'?"
    assert browser.run("return document.querySelector('#source li:has(.error-text)').value") == 4
    facts = browser.find("#commit .facts").text
    assert "2 files changed, +2 \u2212" in facts
    assert browser.complaints() == []


def test_metrics_of_running_executions_stand_below_each_other(browser: Browser) -> None:
    browser.open("/")
    boxes = "[...document.querySelectorAll('#running .spark')]"
    drawn = browser.run(f"return {boxes}.map((one) => one.querySelector('svg') !== null)")
    assert {True, False} == set(drawn)
    for part, edge in (("clip", "left"), ("clip + b", "right")):
        edges = f"{boxes}.map((one) => one.querySelector('.{part}').getBoundingClientRect().{edge})"
        assert len(set(browser.run(f"return {edges}"))) == 1, part


@pytest.mark.parametrize("path", ["/p/cells/settings/", "/p/cells/executions/199/configuration/"])
def test_the_tab_that_is_shown_is_in_view_on_a_phone(browser: Browser, path: str) -> None:
    browser.look(390)
    browser.open(path)
    box = browser.run("return document.querySelector('.tabs [aria-current]').getBoundingClientRect().toJSON()")
    assert 0 <= box["left"] < box["right"] <= 390


def test_a_commit_shows_each_target_with_its_state_and_what_was_skipped(browser: Browser, demo_site: Site) -> None:
    browser.open(f"/p/cells/commits/{demo_site.demo.long.commit_identifier}/")
    assert texts(browser, ".target h3") == ["train", "preprocess", "evaluate", "lr-search", "full"]
    assert "Skipped: input model has no default" in browser.find("#step-evaluate").text
    assert "Failed" in browser.find("#step-preprocess .run-of").text
    assert texts(browser, "#pipeline-full .layers .state")[0] == "preprocess"
    assert "waiting for approval" in browser.find("#pipeline-full .waits").text
    assert browser.run("return document.querySelectorAll('.outcome .tail').length") == 2  # one runs, one failed
    browser.find("#step-train .button").click()
    browser.wait("location.pathname.endsWith('/run/') && location.search === '?step=train'")
    assert browser.complaints() == []
