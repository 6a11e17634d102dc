"""The pages of tasks and pipelines in a real browser."""

from __future__ import annotations

import pytest
from demo_site import Browser, Site
from selenium.webdriver.common.keys import Keys

from core.states import State
from web.store import groups, metadata, pipelines, trials
from web.store.db import execute, transaction

pytestmark = pytest.mark.browser

DRAWN = "document.querySelector('#curve canvas') !== null"


def task_page(site: Site, rest: str = "") -> str:
    return f"/p/{site.demo.project.name}/tasks/{site.demo.task.counter}/{rest}"


def pipeline_page(site: Site) -> str:
    return f"/p/{site.demo.project.name}/pipelines/{site.demo.pipeline.counter}/"


def test_the_curve_is_drawn_and_drawn_anew_when_a_trial_has_ended(browser: Browser, demo_site: Site) -> None:
    browser.open(task_page(demo_site))
    browser.wait(DRAWN)
    browser.run("document.querySelector('#curve canvas').dataset.old = 1")
    best = browser.find(".record b").text
    db, task = demo_site.db, demo_site.demo.task
    running = next(trial for trial in trials.list_for_task(db, task.id, "accuracy") if trial.state is State.STARTED)
    with transaction(db):
        metadata.add(db, running.execution_id, [(2, {"accuracy": 0.9876})])
        execute(
            db, "UPDATE execution SET state = 'complete', ended_at = started_at WHERE id = ?", (running.execution_id,)
        )
    browser.wait("document.querySelector('.record b').textContent === '0.9876'")
    assert best != "0.9876"
    browser.wait(f"{DRAWN} && document.querySelector('#curve canvas').dataset.old === undefined")
    assert browser.run("return document.querySelector('.best-line title').textContent.includes('0.9876')")
    assert browser.complaints() == []


def test_better_trials_have_stronger_lines(browser: Browser, demo_site: Site) -> None:
    browser.open(task_page(demo_site))
    shades = "return new Set([...document.querySelectorAll('.coordinates polyline')].map((l) => getComputedStyle(l).stroke)).size"
    assert browser.run(shades) == 6  # five shades, and the best one


def test_without_the_chart_library_the_best_so_far_is_a_line(browser: Browser, demo_site: Site) -> None:
    browser.driver.execute_cdp_cmd("Network.enable", {})
    browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*uPlot*"]})
    try:
        browser.open(task_page(demo_site))
        assert browser.run("return document.querySelectorAll('#curve polyline').length") == 1
    finally:
        browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def test_a_column_sorts_by_a_click_and_one_stays_at_the_table(browser: Browser, demo_site: Site) -> None:
    browser.open(task_page(demo_site))
    browser.run("[...document.querySelectorAll('.trials thead a')].find((link) => link.textContent === 'loss').click()")
    browser.wait("location.search === '?sort=-m.loss'")
    cell = "[...document.querySelectorAll('td[data-label=loss]')].map((cell) => Number(cell.title))"
    values = browser.wait(f"{cell}.length > 10 && {cell}")
    assert values == sorted(values, reverse=True)
    assert browser.run("return document.querySelector('[aria-sort]').ariaSort") == "descending"
    assert browser.run("return location.hash") == "#h-trials"


def test_another_metric_is_compared_by_a_form_whose_answer_is_an_address(browser: Browser, demo_site: Site) -> None:
    browser.open(task_page(demo_site))
    browser.run("document.querySelector('#metric').value = 'loss'; document.querySelector('#better').value = 'lowest'")
    browser.find(".compare button").click()
    browser.wait("location.search === '?metric=loss&better=lowest'")
    browser.wait(DRAWN)
    assert browser.find(".record").text.startswith("loss")
    assert browser.run("return [...document.querySelectorAll('.axis-name')].at(-1).textContent").startswith("loss")
    assert browser.complaints() == []


def test_what_one_has_scrolled_stays_where_it_is_while_the_page_is_kept_fresh(
    browser: Browser, demo_site: Site
) -> None:
    browser.look(390, 800)
    browser.open(pipeline_page(demo_site))
    browser.run("document.querySelector('.graph').scrollLeft = 333; document.querySelector('.graph').dataset.old = 1")
    with transaction(demo_site.db):
        node = next(n for n in pipelines.list_nodes(demo_site.db, demo_site.demo.pipeline.id) if n.name == "report")
        groups.update(demo_site.db, "pipeline_node", node.id, message="something new")
    browser.wait("document.querySelector('#node-" + str(node.position) + "').textContent.includes('something new')")
    assert browser.run("return document.querySelector('.graph').dataset.old") == "1"
    assert browser.run("return document.querySelector('.graph').scrollLeft") == 333
    assert browser.run("return document.documentElement.scrollWidth") <= 390


def test_nodes_are_reached_by_keyboard_in_the_graph(browser: Browser, demo_site: Site) -> None:
    browser.open(pipeline_page(demo_site))
    browser.run("document.querySelector('.graph a.node').focus()")
    assert browser.run("return document.activeElement.querySelector('title').textContent") == "preprocess: Succeeded"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.wait("location.pathname.includes('/executions/')")


def test_the_boxes_of_the_graph_hold_their_words(browser: Browser, demo_site: Site) -> None:
    browser.open(pipeline_page(demo_site))
    outside = (
        "return [...document.querySelectorAll('.graph .node')].filter((node) => {"
        " const box = node.querySelector('rect').getBoundingClientRect();"
        " return [...node.querySelectorAll('text')].some((text) => {"
        "  const at = text.getBoundingClientRect();"
        "  return at.left < box.left || at.right > box.right || at.bottom > box.bottom; }); }).length"
    )
    assert browser.run("return document.querySelectorAll('.graph .node').length") == 6
    assert browser.run(outside) == 0


def test_approving_is_one_press_and_the_page_says_who_did(browser: Browser, demo_site: Site) -> None:
    browser.open(pipeline_page(demo_site))
    browser.find(".approval button").click()
    browser.wait(
        "document.querySelector('.approval') === null && document.body.textContent.includes('Approved by admin')"
    )
    assert browser.run("return location.pathname") == pipeline_page(demo_site)
    assert browser.complaints() == []


def test_a_state_that_changes_is_seen_in_the_tab_and_said_once(browser: Browser, demo_site: Site) -> None:
    db, demo = demo_site.db, demo_site.demo
    browser.open(pipeline_page(demo_site))
    assert browser.run("return document.title").startswith("▶ ")
    with transaction(db):
        assert groups.request_stop(db, "pipeline", demo.pipeline.id, "ada")
    browser.wait("document.title.startsWith('◐ ')")
    assert browser.run("return document.getElementById('announce').textContent") == "Pipeline: Stopping"
    assert "stopping.svg" in browser.run("return document.getElementById('favicon').href")
    assert browser.complaints() == []


def test_stop_asks_before_it_stops_all(browser: Browser, demo_site: Site) -> None:
    browser.open(task_page(demo_site))
    assert not browser.find(".stop-all button").is_displayed()
    browser.find(".stop-all summary").click()
    browser.find(".stop-all button").click()
    browser.wait("document.querySelector('h1 .state').textContent.trim() === 'Stopping'")
    assert browser.run("return document.querySelector('.stop-all')") is None
    assert browser.complaints() == []
