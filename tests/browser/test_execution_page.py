"""The page of an execution in a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from demo_site import Browser, Site
from instance import wait_for
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from core import clock
from core.model import Execution
from web.services.executions import lifecycle
from web.store import executions, logs, metadata, usage
from web.store.db import execute, transaction

pytestmark = pytest.mark.browser

IN_VIEW = (
    "(() => {{ const line = document.getElementById('L{0}')?.getBoundingClientRect();"
    " const box = document.getElementById('log').getBoundingClientRect();"
    " return Boolean(line) && line.top >= box.top && line.bottom <= box.bottom; }})()"
)


def in_view(line: int) -> str:
    return IN_VIEW.format(line)


@contextmanager
def blocked(browser: Browser, pattern: str) -> Iterator[None]:
    """Let requests of these addresses fail as without a connection."""
    browser.driver.execute_cdp_cmd("Network.enable", {})
    browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": [pattern]})
    try:
        yield
    finally:
        browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def test_a_log_of_100000_lines_opens_at_its_end(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/"))
    total = browser.run("return Number(document.getElementById('log').dataset.total)")
    assert total > 100_000
    browser.wait(in_view(total))
    assert browser.run("return document.querySelectorAll('.chunk > div').length") == 500
    assert browser.complaints() == []


def test_a_link_to_an_early_line_of_a_long_log_shows_that_line(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/") + "#L123")
    browser.wait(in_view(123))
    assert browser.run("return document.querySelector('.marked').id") == "L123"
    assert browser.find("#later").is_displayed() or browser.run("return !document.getElementById('later').hidden")


def test_from_an_early_line_one_jumps_back_to_the_end(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/") + "#L50000")
    browser.wait(in_view(50000))
    browser.find("#to-end").click()
    browser.wait(in_view(browser.run("return Number(document.getElementById('log').dataset.total)")))


def test_earlier_lines_are_put_above_without_moving_what_is_read(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/"))
    first = browser.run("return Number(document.querySelector('.chunk > div').id.slice(1))")
    browser.run("document.getElementById('earlier').click()")
    browser.wait(f"Number(document.querySelector('.chunk > div').id.slice(1)) === {first - 2000}")
    ids = browser.run("return [...document.querySelectorAll('.chunk > div')].map((line) => Number(line.id.slice(1)))")
    assert ids == list(range(first - 2000, first + 500))


def test_a_word_is_found_in_100000_lines(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/"))
    browser.find("#search-text").send_keys("WAS late".lower())
    hits = "document.getElementById('hits').textContent"
    browser.wait(f"{hits} === '1 of 20 hits'")
    marked = "document.querySelector('#lines .marked')"
    browser.wait(f"{marked}?.textContent.includes('was late by')")
    first = browser.run(f"return Number({marked}.id.slice(1))")
    browser.wait(in_view(first))
    browser.find("#search-text").send_keys(Keys.ENTER)
    browser.wait(f"{hits} === '2 of 20 hits' && Number({marked}?.id.slice(1)) > {first}")
    browser.find("#hit-before").click()
    browser.find("#hit-before").click()
    browser.wait(f"{hits} === '20 of 20 hits'")
    last = browser.run("return Number(location.hash.slice(2))")
    browser.wait(in_view(last))
    assert browser.run("return location.search") == "?q=was+late"
    browser.driver.refresh()  # the address is the view
    browser.wait(in_view(last))
    browser.wait(f"{hits} === '20 hits'")
    filtered(browser, "stdout")  # keeps the text
    browser.wait(f"{hits} === 'no hits'")
    assert browser.complaints() == []


def test_a_range_of_lines_is_linked(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/"))
    browser.find("#line").send_keys("40,000", Keys.ENTER)
    browser.wait(in_view(40_000))
    browser.run("document.querySelector('#L40003 a').dispatchEvent("
                "new MouseEvent('click', { bubbles: true, cancelable: true, shiftKey: true }))")  # fmt: skip
    browser.wait("location.hash === '#L40000-L40003'")
    marked = "[...document.querySelectorAll('#lines .marked')].map((line) => line.id).join()"
    expected = "L40000,L40001,L40002,L40003"
    browser.wait(f"{marked} === '{expected}'")
    browser.open(demo_site.page(demo_site.demo.long, "log/") + "#L40000-L40003")
    browser.wait(f"{marked} === '{expected}'")
    browser.wait(in_view(40_001))
    assert browser.run("return document.querySelector('#lines a').tabIndex") == -1


def hold_block(browser: Browser) -> None:
    """Let the page get the next block of the log only when it calls `release`, which is there once it was sent."""
    browser.run("""const { fetch } = window;
        window.fetch = async (url, ...others) => {
          const answer = await fetch(url, ...others);
          if (!String(url).includes('log.html')) return answer;
          window.fetch = fetch;
          await new Promise((done) => { window.release = done; });
          return answer;
        };""")


def test_a_hit_that_is_left_while_its_lines_load_is_not_shown(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/"))
    browser.find("#search-text").send_keys("was late")
    marked = "document.querySelector('#lines .marked')?.id"
    browser.wait(f"document.getElementById('hits').textContent === '1 of 20 hits' && {marked}")
    first = browser.run("return Number(location.hash.slice(2))")
    browser.wait(in_view(first))
    hold_block(browser)
    browser.find("#hit-after").click()
    browser.wait("window.release !== undefined")
    browser.find("#hit-before").click()
    browser.wait(f"{marked} === 'L{first}'")
    browser.run("release()")
    browser.wait_for_frames()
    assert browser.run(f"return {marked}") == f"L{first}"
    browser.wait(in_view(first))
    browser.find("#hit-after").click()
    browser.wait(f"{marked} && {marked} !== 'L{first}'")
    assert browser.complaints() == []


def test_the_end_of_a_log_that_grows_while_it_loads_is_followed(browser: Browser, demo_site: Site) -> None:
    execution = demo_site.begin()
    demo_site.say("one of many\n" * 4000, execution=execution)
    browser.open(demo_site.page(execution, "log/?line=1"))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    hold_block(browser)
    browser.find("#to-end").click()
    browser.wait("window.release !== undefined")
    demo_site.say("one more\n" * 300, execution=execution)
    total = logs.get_length(demo_site.db, execution).lines
    browser.wait(f"document.getElementById('log-total').textContent === '{total:,}'")
    browser.run("release()")
    browser.wait(in_view(total))
    demo_site.say("the last one\n", execution=execution)
    browser.wait(in_view(total + 1))
    assert browser.complaints() == []


def test_a_command_whose_lines_cannot_be_fetched_opens_at_the_next_attempt(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/?line=1"))
    opened = "document.querySelector('[data-command=\"1\"]')?.getAttribute('aria-expanded') === 'true'"
    with blocked(browser, "*/log.html*"):
        browser.find("[data-command='1']").click()
        browser.wait("performance.getEntriesByType('resource').some(({ name }) => name.includes('/log.html'))")
    assert not browser.run(f"return {opened}")
    browser.find("[data-command='1']").click()
    browser.wait(opened)


def test_a_command_that_succeeded_is_folded_and_opens(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/?line=1"))
    fold = "document.querySelector('[data-command=\"1\"]')"
    browser.wait(f"{fold}?.getAttribute('aria-expanded') === 'false'")
    collecting = "document.getElementById('lines').textContent.includes('Collecting torch')"
    assert not browser.run(f"return {collecting}")
    browser.find("[data-command='1']").send_keys(Keys.ENTER)
    browser.wait(collecting)
    browser.wait(f"{fold} === document.activeElement && {fold}.getAttribute('aria-expanded') === 'true'")
    browser.find("[data-command='1']").send_keys(Keys.ENTER)
    browser.wait(f"!{collecting}")
    browser.find("#line").send_keys("4", Keys.ENTER)  # a link into it opens it
    browser.wait(f"{collecting} && document.querySelector('.marked')?.id === 'L4'")


def test_scrolling_up_brings_earlier_lines(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/"))
    first = "Number(document.querySelector('.chunk > div').id.slice(1))"
    before = browser.run(f"return {first}")
    browser.run("document.getElementById('log').scrollTop = 300")
    browser.wait(f"{first} === {before - 2000}")


def filtered(browser: Browser, name: str) -> None:
    link = next(link for link in browser.driver.find_elements("css selector", "#log-filter a") if link.text == name)
    link.click()
    browser.wait("document.readyState === 'complete' && document.getElementById('log-filter') !== null", 30)


SHOWN = "[...document.querySelectorAll('#lines .chunk > div')]"


def test_the_log_shows_one_stream_or_errors_and_keeps_the_numbers_of_lines(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/"))
    filtered(browser, "stderr")
    browser.wait("location.search === '?show=stderr'")
    only = f"{SHOWN}.every((line) => line.matches('.stderr, .command') || line.textContent.includes('Command '))"
    browser.wait(f"document.querySelectorAll('#lines .stderr').length === 20 && {only}")  # of the whole log
    number = browser.run("return Number([...document.querySelectorAll('#lines .stderr')].at(3).id.slice(1))")
    assert 500 < number < 100_000
    browser.find("#line").send_keys(str(number), Keys.ENTER)
    browser.wait(f"document.querySelector('#lines .marked')?.id === 'L{number}' && {in_view(number)}")
    filtered(browser, "All")
    browser.wait(f"location.search === '' && {in_view(number)} && document.getElementById('L{number + 1}') !== null")
    filtered(browser, "Errors")
    nothing = "document.getElementById('no-lines').hidden === {}"
    browser.wait(f"location.search === '?show=errors' && {SHOWN}.length === 2 && {nothing.format('false')}")
    browser.open(demo_site.page(demo_site.demo.long, "log/?show=status&line=1"))
    browser.find("[data-command='1']").click()
    browser.wait("document.querySelector('[data-command=\"1\"]').getAttribute('aria-expanded') === 'false'")
    assert browser.complaints() == []


def test_metric_lines_are_hidden_by_the_server(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "log/?line=4000"))
    browser.wait("document.querySelectorAll('#lines .metric').length > 0")
    filtered(browser, "Hide metrics")
    browser.wait(f"location.search === '?metrics=hidden' && {SHOWN}.length >= 500")
    # again and again: the page may scroll once more by itself
    browser.wait(f"(document.getElementById('log').scrollTop = 300, {SHOWN}.length >= 2500)")
    assert browser.run("return document.querySelectorAll('#lines .metric').length") == 0
    assert browser.find("#log-filter .apart").text == "Show metrics"
    assert browser.complaints() == []


def test_a_filtered_log_is_followed(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.live, "log/?show=errors"))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    demo_site.say("a good line\n" * 3 + "an unusual failure\n" + "another good line\n")
    browser.wait(f"{SHOWN}.at(-1)?.textContent.includes('an unusual failure')")
    browser.wait("document.getElementById('no-lines').hidden")
    demo_site.preview("not shown")
    demo_site.say("Traceback of the end\n")
    browser.wait(f"{SHOWN}.at(-1)?.textContent.includes('Traceback of the end')")
    assert not browser.run("return document.getElementById('log').textContent.includes('good line')")
    assert browser.complaints() == []


def test_on_a_phone_the_tools_of_the_log_are_one_row_that_opens(browser: Browser, demo_site: Site) -> None:
    browser.look(390, 844)
    browser.open(demo_site.page(demo_site.demo.live, "log/"))
    browser.wait("document.getElementById('connection').textContent === 'live'", 60)
    assert browser.run("return document.querySelector('.log-panel .panel-head').clientHeight") <= 40
    assert not browser.find("#log-filter").is_displayed()
    browser.find("#log-tools").click()
    assert browser.find("#log-filter").is_displayed()
    assert browser.find("#wrap").is_displayed()
    browser.find("#log-tools").click()
    assert not browser.find("#wrap").is_displayed()


def test_live_lines_appear_and_are_followed(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.live))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    demo_site.say("".join(f"live line {i}\n" for i in range(1200)) + "the last live line\n")
    browser.wait(
        "document.querySelector('.chunk:last-child > div:last-child').textContent.includes('the last live line')"
    )
    last = browser.run("return Number(document.querySelector('.chunk:last-child > div:last-child').id.slice(1))")
    browser.wait(in_view(last))
    assert browser.complaints() == []


def test_an_unfinished_line_is_replaced_and_gives_way_to_the_whole_one(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.live))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    shown = "document.getElementById('partial').textContent"
    demo_site.preview("Epoch 3: 10% <b>")
    browser.wait(f"{shown} === 'Epoch 3: 10% <b>'")
    demo_site.preview("Epoch 3: 90%")
    browser.wait(f"{shown} === 'Epoch 3: 90%'")
    demo_site.say("Epoch 3: 100%\n")
    browser.wait(f"{shown} === ''")
    browser.wait("document.querySelector('#lines .chunk:last-child > div:last-child').textContent.includes('100%')")
    assert browser.complaints() == []


def test_scrolled_up_one_stays_where_one_is_while_lines_come(browser: Browser, demo_site: Site) -> None:
    demo_site.say("one of many\n" * 300)
    browser.open(demo_site.page(demo_site.demo.live))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    browser.run("document.getElementById('log').scrollTop = 1500")
    browser.wait("!document.getElementById('to-end').hidden")
    demo_site.say("one more\n" * 30)
    browser.wait("document.getElementById('to-end').textContent === 'Jump to end · 30 new'")
    assert browser.run("return document.getElementById('log').scrollTop") == 1500


def test_a_key_that_appears_later_gets_its_chart(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.live, "charts/"))
    browser.wait("document.querySelectorAll('#charts canvas').length > 0")
    demo_site.say('{"epoch": 17, "late key": 7.5}\n')
    browser.wait("document.querySelector('.chart[data-key=\"late key\"] canvas') !== null")
    assert browser.complaints() == []


FETCHES = "performance.getEntriesByType('resource').filter(({ name }) => name === location.href).length"


def opened_without_metrics(browser: Browser, site: Site, tab: str = "") -> Execution:
    execution = site.begin()
    browser.open(site.page(execution, tab))
    browser.wait("document.getElementById('charts')?.textContent.includes('Print a line of JSON')")
    return execution


def test_an_overview_that_was_opened_before_the_first_metric_gets_its_chart(browser: Browser, demo_site: Site) -> None:
    execution = opened_without_metrics(browser, demo_site)
    browser.find("#since").send_keys("12")
    demo_site.say('{"loss": 0.5}\n', execution=execution)
    browser.wait("document.querySelector('.chart[data-key=loss] canvas') !== null")
    assert browser.run("return document.querySelector('#latest [data-key=loss] td').textContent") == "0.5"
    assert browser.run("return [document.activeElement.id, document.activeElement.value]") == ["since", "12"]
    demo_site.say('{"loss": 0.4, "accuracy": 0.8}\n', execution=execution)
    browser.wait("document.querySelectorAll('#key option').length === 2")
    assert browser.run("return document.getElementById('key').value") == "loss"
    browser.find("#key [value=accuracy]").click()
    browser.wait("document.querySelector('.chart .plot').getAttribute('aria-label').startsWith('accuracy over index')")
    assert browser.complaints() == []


def test_charts_that_were_opened_before_the_first_metric_obey_their_fields(browser: Browser, demo_site: Site) -> None:
    execution = opened_without_metrics(browser, demo_site, "charts/")
    demo_site.say('{"loss": 0.5}\n{"loss": 0.4}\n', execution=execution)
    label = "document.querySelector('.chart[data-key=loss] .plot')?.getAttribute('aria-label')"
    browser.wait(f"{label}?.startsWith('loss over index: 2 points')")
    browser.find("#axis [value=time]").click()
    browser.wait(f"location.search === '?x=time' && {label}.startsWith('loss over seconds: 2 points')")
    demo_site.say('{"loss": 0.3, "recall": 0.8, "epoch": 3}\n', execution=execution)
    keys = "[...document.getElementById('{}').options].map(({{ value }}) => value).filter(Boolean).sort().join()"
    browser.wait(f"{keys.format('add-chart')} === 'epoch,loss,recall'")
    assert browser.run(f"return {keys.format('axis')}") == "key.epoch,number,time"
    assert browser.run("return document.getElementById('axis').value") == "time"
    assert browser.complaints() == []


def test_metadata_without_numbers_fetches_the_page_once_for_each_key(browser: Browser, demo_site: Site) -> None:
    execution = opened_without_metrics(browser, demo_site)
    for number in range(5):
        demo_site.say(json.dumps({"phase": f"phase {number}"}) + "\n", execution=execution)
        browser.wait(f"document.querySelector('#latest [data-key=phase] td')?.textContent === 'phase {number}'")
    assert browser.run(f"return {FETCHES}") == 1
    demo_site.say('{"phase": "last", "loss": 0.5}\n', execution=execution)
    browser.wait("document.querySelector('#main-metric b')?.textContent === '0.5'")


def test_charts_fetch_the_page_only_for_keys_with_numbers(browser: Browser, demo_site: Site) -> None:
    execution = demo_site.begin()
    many = {f"k{number}": number for number in range(30)}  # more than there are charts at first
    demo_site.say(json.dumps(many | {"phase": "first"}) + "\n", execution=execution)
    browser.open(demo_site.page(execution, "charts/"))
    last = "document.querySelector('.chart[data-key=k0] b').textContent"
    for number in range(5):
        demo_site.say(json.dumps(many | {"k0": 50 + number, "phase": "next"}) + "\n", execution=execution)
        browser.wait(f"{last} === '{50 + number}'")
    assert browser.run(f"return {FETCHES}") == 0


def test_an_end_whose_page_could_not_be_fetched_is_shown_once_it_can(browser: Browser, demo_site: Site) -> None:
    execution = opened_without_metrics(browser, demo_site)
    browser.wait("document.getElementById('connection').textContent === 'live'")
    with blocked(browser, f"*{demo_site.page(execution)}"):
        demo_site.finish(execution)
        browser.wait("document.querySelector('h1 .state').textContent.trim() === 'Succeeded'")
        browser.wait(f"{FETCHES} > 0")
        assert "Print a line of JSON" in browser.find("#charts").text
    browser.wait("document.getElementById('charts').textContent.includes('No metrics were printed.')")


def test_metadata_that_comes_reaches_the_head_and_the_values(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.live))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    demo_site.say('{"epoch": 17, "loss": 0.125, "accuracy": 0.9625, "a new key": 7.5}\n')
    value = "document.querySelector('#latest tr[data-key=\"{}\"] td')?.textContent"
    browser.wait(f"{value.format('loss')} === '0.125'")
    browser.wait(f"{value.format('a new key')} === '7.5'")
    browser.wait("document.getElementById('main-metric').textContent === 'accuracy 0.9625'")
    assert browser.complaints() == []


def test_a_chart_whose_points_cannot_be_fetched_is_drawn_once_they_can(browser: Browser, demo_site: Site) -> None:
    failed = "performance.getEntriesByType('resource').some(({ name }) => name.includes('/series?'))"
    with blocked(browser, "*/series?*"):
        browser.open(demo_site.page(demo_site.demo.long, "charts/"))
        browser.wait(failed)
        assert browser.run("return document.querySelectorAll('#charts canvas').length") == 0
        browser.find("#axis [value=number]").click()
    browser.wait("document.querySelectorAll('#charts canvas').length >= 3")
    label = "document.querySelector('.chart[data-key=loss] .plot').getAttribute('aria-label')"
    browser.wait(f"{label}.includes('over index: 600 points') && {label}.endsWith('x from 0 to 599')")


def test_a_chart_that_is_loading_gets_the_axis_that_was_chosen_meanwhile(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "charts/"))
    label = "document.querySelector('.chart[data-key=loss] .plot').getAttribute('aria-label')"
    browser.wait(f"{label}?.includes('over step: 600 points')")
    browser.run("""const axis = document.getElementById('axis');
        for (const value of ['time', 'number']) {
          axis.value = value;
          axis.dispatchEvent(new Event('change'));
        }""")
    browser.wait(f"{label}.includes('over index: 600 points')")
    assert browser.run(f"return {label}").endswith("x from 0 to 599")


def test_without_the_chart_library_the_sparklines_stay(browser: Browser, demo_site: Site) -> None:
    with blocked(browser, "*uPlot*"):
        for tab, drawn in (("", 1), ("charts/", 5)):
            browser.open(demo_site.page(demo_site.demo.long, tab))
            assert browser.run("return document.querySelectorAll('#charts .plot polyline').length") == drawn
        browser.open(demo_site.page(demo_site.demo.long, "resources/"))
        assert browser.run("return document.querySelectorAll('#resources .plot polyline').length") == 3


def test_what_a_running_execution_uses_is_drawn_and_followed(browser: Browser, demo_site: Site) -> None:
    live, db = demo_site.demo.live, demo_site.db
    browser.open(demo_site.page(live, "resources/"))
    browser.wait("document.querySelectorAll('#resources canvas').length === 3")
    titles = "return [...document.querySelectorAll('#resources .clip')].map((title) => title.textContent)"
    assert browser.run(titles) == ["CPU cores", "Memory", "2 GPUs", "GPU memory"]
    row = "document.querySelectorAll('.heat-row')[1]"
    assert browser.run(f"return {row}.querySelector('svg').getAttribute('aria-label')").startswith(
        "Use of GPU 1 over time"
    )
    now_us = time.time_ns() // 1000
    samples = [usage.Sample(time_us=now_us, series="memory", value=77 * 2**30),
               usage.Sample(time_us=now_us, series="gpu:1", value=3)]  # fmt: skip
    lifecycle.add_usage(db, demo_site.demo.runner, live.uuid, 1, samples)
    browser.wait(f"{row}.querySelector('b').textContent === '3 %'")
    browser.wait("document.querySelector('#resources [data-kind=memory] b').textContent === '77.0 GiB'")
    assert browser.run("return document.querySelector('#resources [data-kind=memory] .note').textContent") == (
        "peak 77.0 GiB"
    )
    assert browser.complaints() == []


def test_colours_come_by_classes_and_links_in_output_do_not_come_at_all(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.live))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    demo_site.say(
        "\x1b[31mred\x1b[0m \x1b]8;;javascript:alert(1)\x1b\\here\x1b]8;;\x1b\\ <img src=x onerror=alert(1)> end\n"
    )
    last = "document.querySelector('.chunk:last-child > div:last-child')"
    browser.wait(f"{last}.textContent.includes('<img src=x onerror=alert(1)> end')")
    assert browser.run(f"return {last}.querySelector('.f1').textContent") == "red"
    assert browser.run(f"return {last}.querySelectorAll('img, span a').length") == 0
    assert browser.complaints() == []


def test_the_stop_button_stops_and_then_kills(browser: Browser, demo_site: Site) -> None:
    live = demo_site.demo.live
    demo_site.hear(live)
    browser.open(demo_site.page(live))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    assert browser.find("#stop button").text == "Stop"
    browser.find("#stop button").click()
    browser.wait("document.querySelector('#stop button')?.textContent === 'Kill'")
    browser.wait("document.querySelector('h1 .state').textContent.trim() === 'Stopping'")
    assert "stopping.svg" in browser.run("return document.getElementById('favicon').href")
    assert browser.run("return document.title").startswith("◐ ")
    assert demo_site.now(live).stop_count == 1
    browser.find("#stop button").click()
    wait_for(lambda: demo_site.now(live).stop_count == 2)
    assert browser.run("return location.pathname") == demo_site.page(live)
    assert browser.complaints() == []


def test_the_focus_stays_when_the_head_changes_and_never_gets_to_another_button(
    browser: Browser, demo_site: Site
) -> None:
    execution = demo_site.begin()
    browser.open(demo_site.page(execution))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    focused = "return document.activeElement.textContent.trim()"
    browser.find("#re-run summary").send_keys(Keys.ENTER)
    browser.wait("document.getElementById('re-run').open")
    link = browser.find("#re-run a")
    link.send_keys("")
    demo_site.set_detail(execution, "Epoch 1 of 40")
    browser.wait("document.querySelector('.messages').textContent.includes('Epoch 1 of 40')")
    assert browser.run(focused) == "Re-run with changes…"
    browser.run("document.querySelector('#stop button').focus()")
    demo_site.stop(execution)
    browser.wait("document.querySelector('#stop button')?.textContent === 'Kill'")
    assert browser.run("return document.activeElement.matches('h1')")
    with transaction(demo_site.db):
        expired = clock.add_to_now(-120)
        execute(demo_site.db, "UPDATE execution SET lease_expires_at = ? WHERE id = ?", (expired, execution.id))
    demo_site.say("still here\n", execution=execution)
    browser.wait("document.querySelector('details.banner') !== null")
    browser.find("details.banner summary").send_keys(Keys.ENTER)
    demo_site.set_detail(execution, "Epoch 2 of 40")
    browser.wait("document.querySelector('details.banner summary') === document.activeElement")
    assert browser.run("return document.querySelector('details.banner').open")
    assert browser.complaints() == []


def test_a_stop_that_does_not_reach_the_server_can_be_asked_for_again(browser: Browser, demo_site: Site) -> None:
    live = demo_site.demo.live
    demo_site.hear(live)
    browser.open(demo_site.page(live))
    before = demo_site.now(live).stop_count
    with blocked(browser, f"*{demo_site.page(live)}stop*"):
        browser.run("""const button = document.querySelector('#stop button');
            new MutationObserver(() => { window.tried = !button.disabled; }).observe(button, { attributes: true });
            button.click();""")
        browser.wait("window.tried")
    assert browser.run("return location.pathname") == demo_site.page(live)
    assert demo_site.now(live).stop_count == before


def test_an_image_is_previewed(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "outputs/"))
    browser.wait("document.querySelector('.thumbnails img')?.naturalWidth === 96")
    browser.find(".thumbnails a").click()
    browser.wait("document.querySelector('#preview img')?.naturalWidth === 96")
    assert browser.find("#preview h2").text == "confusion.png"
    for name, shown in (
        ("held-out.csv", "td"),
        ("settings.json", "pre"),
        ("report.html", "pre"),
        ("sonar.wav", "audio"),
    ):
        link = f"[aria-label$='{name}']"
        browser.find(f"#outputs a{link}").click()
        browser.wait(f"document.querySelector('#preview h2')?.textContent.endsWith('{name}')"
                     f" && document.querySelector('#preview {shown}') !== null")  # fmt: skip
    browser.run("document.querySelector('#preview audio').load()")
    browser.wait("document.querySelector('#preview audio').readyState > 0 ||"
                 " (document.querySelector('#preview audio').preload = 'metadata', false)")  # fmt: skip
    assert browser.run("return document.getElementById('outputs-command').textContent") == (
        f"vh exec outputs {demo_site.demo.long.counter} -d results"
    )
    assert browser.complaints() == []


def test_a_person_sees_what_changed_since_the_run_before_and_since_any_other(browser: Browser, demo_site: Site) -> None:
    live = demo_site.demo.live
    browser.open(demo_site.page(live))
    heading = "document.getElementById('h-changes')?.textContent"
    assert browser.run(f"return {heading}").startswith("What changed since #")
    browser.find("#since").send_keys(str(demo_site.demo.long.counter), Keys.ENTER)
    browser.wait(
        f"{heading} === 'What changed since #{demo_site.demo.long.counter}' && location.search.includes('since')"
    )
    rows = "[...document.querySelectorAll('#changes tr')].map((row) => row.textContent.replace(/\\s+/g, ' ').trim())"
    assert "learning_rate 0.001 → 0.003" in [row.partition(" (")[0] for row in browser.run(f"return {rows}")]
    browser.find("#since").send_keys("3", Keys.ENTER)
    browser.wait(f"{heading} === 'What changed since #3'")
    assert any(row.startswith("commit ") for row in browser.run(f"return {rows}"))
    assert browser.complaints() == []


def drag(browser: Browser, selector: str) -> None:
    """Drag over the middle half of an element."""
    area = browser.find(selector)
    width = area.size["width"]
    actions = ActionChains(browser.driver).move_to_element_with_offset(area, -width // 4, 0).click_and_hold()
    actions.move_to_element_with_offset(area, width // 4, 0).release().perform()


def test_metrics_are_drawn_together_and_the_address_keeps_it(browser: Browser, demo_site: Site) -> None:
    path = demo_site.page(demo_site.demo.long, "charts/")
    browser.open(path)
    figure = "document.querySelector('.chart[data-key=loss]')"
    browser.wait(f"{figure}.querySelector('canvas') !== null")
    browser.find(".chart[data-key=loss] .chart-menu summary").click()
    select = ".chart[data-key=loss] .chart-menu select"
    browser.wait(f"document.querySelector('{select}').options.length > 2")
    browser.find(f"{select} [value=val_loss]").click()
    names = f"[...{figure}.querySelectorAll('.key .clip')].map((name) => name.textContent).join()"
    browser.wait(f"{names} === 'loss,val_loss' && {figure}.querySelector('.note').textContent === '1,200 points'")
    browser.find("#log-scale").click()
    browser.find("#axis [value=time]").click()
    browser.wait("location.search.includes('charts=') && location.search.includes('x=time')")
    browser.driver.refresh()
    browser.wait(f"{names} === 'loss,val_loss' && {figure}.querySelector('.note').textContent === '1,200 points'")
    assert browser.run("return [document.getElementById('log-scale').checked, document.getElementById('axis').value]") == [
        True, "time",
    ]  # fmt: skip
    label = browser.run(f"return {figure}.querySelector('.plot').getAttribute('aria-label')")
    assert label.startswith("loss, val_loss over seconds: 1,200 points, ")
    browser.open(f"{path}?x=no&log=x&smooth=x&charts=[[1],%22x%22,{{}}]")  # an address that is all wrong
    browser.wait(f"{figure}.querySelector('canvas') !== null && {names} === 'loss'")
    assert browser.complaints() == []


def test_one_zooms_into_all_charts_and_back(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "charts/"))
    browser.wait("document.querySelectorAll('#charts canvas').length >= 3")
    assert not browser.find("#reset-zoom").is_enabled()
    drag(browser, ".chart[data-key=loss] .u-over")
    browser.wait("!document.getElementById('reset-zoom').disabled")
    browser.find("#reset-zoom").click()
    browser.wait("document.getElementById('reset-zoom').disabled")
    ActionChains(browser.driver).move_to_element(browser.find(".chart[data-key=loss] .u-over")).perform()
    value = "document.querySelector('.chart[data-key=accuracy] figcaption b').textContent"
    browser.wait(f"{value}.includes(' at ')")  # the cursor is in all charts
    assert browser.complaints() == []


def test_a_zoomed_chart_of_a_long_series_has_finer_points(browser: Browser, demo_site: Site) -> None:
    first = executions.get_by_counter(demo_site.db, demo_site.demo.project.id, 1)
    with transaction(demo_site.db):
        lines = [(1000 * n, {"jitter": n * 7919 % 1009}) for n in range(20_000)]
        metadata.add(demo_site.db, first.id, lines)
    browser.open(demo_site.page(first, "charts/"))
    figure = "document.querySelector('.chart[data-key=jitter]')"
    browser.run(f"{figure}.scrollIntoView({{ block: 'center' }})")
    browser.wait(f"{figure}.querySelector('canvas') !== null")
    note = f"{figure}.querySelector('.note').textContent"
    coarse = f"Number({note}.split(' ')[0].replace(',', ''))"
    before = browser.wait(f"{note}.includes(' of 20,000 points') && {coarse}")
    drag(browser, ".chart[data-key=jitter] .u-over")
    browser.wait(f"{coarse} > {before} && {note}.includes(' of 20,000 points')")
    browser.find("#reset-zoom").click()
    browser.wait(f"{coarse} === {before} && document.getElementById('reset-zoom').disabled")
    assert browser.complaints() == []


def test_the_values_of_a_chart_are_a_table_and_a_file(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "charts/"))
    browser.wait("document.querySelector('.chart[data-key=loss] canvas') !== null")
    browser.run("window.saved = []; HTMLAnchorElement.prototype.click = function () {"
                " window.saved.push([this.href, this.download]); }")  # fmt: skip
    for act in ("table", "picture", "values"):
        browser.find(".chart[data-key=loss] .chart-menu summary").click()
        browser.find(f".chart[data-key=loss] [data-do={act}]").click()
    rows = "document.querySelectorAll('.chart[data-key=loss] .data-table tbody tr').length"
    browser.wait(f"{rows} === 600")
    heads = "return [...document.querySelectorAll('.data-table th')].map((head) => head.textContent)"
    assert browser.run(heads) == ["step", "loss"]
    browser.wait("window.saved.length === 2")
    saved = {name: address for address, name in browser.run("return window.saved")}
    assert saved["loss.png"].startswith("blob:")
    assert saved[""].endswith("/series.csv?key=loss")
    assert browser.complaints() == []


def test_a_chart_is_shown_in_full_screen(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long, "charts/"))
    browser.wait("document.querySelector('.chart[data-key=loss] canvas') !== null")
    browser.find(".chart[data-key=loss] .chart-menu summary").click()
    browser.find(".chart[data-key=loss] [data-do=large]").click()
    browser.wait("document.fullscreenElement?.dataset.key === 'loss'")
    browser.run("document.exitFullscreen()")
    browser.wait("document.fullscreenElement === null")


def test_the_head_stays_and_each_tab_has_its_address(browser: Browser, demo_site: Site) -> None:
    path = demo_site.page(demo_site.demo.long)
    browser.open(path)
    for name in ("Log", "Charts", "Outputs", "Resources", "Configuration", "Overview"):
        tab = next(link for link in browser.driver.find_elements("css selector", ".tabs a") if link.text == name)
        tab.click()
        rest = "" if name == "Overview" else f"{name.lower()}/"
        browser.wait(f"location.pathname === '{path}{rest}' && document.readyState === 'complete'", 30)
        assert browser.find(".tabs [aria-current]").text == name
        browser.run("document.getElementById('execution').style.minHeight = '3000px'; scrollTo(0, 900)")
        browser.wait("scrollY === 900")
        assert browser.run("return document.querySelector('.run-head').getBoundingClientRect().top") == 0
        browser.run("scrollTo(0, 0)")
    stages = [stage.text for stage in browser.driver.find_elements("css selector", ".stages li")]
    assert [stage.split()[0] for stage in stages] == ["waiting", "pull", "checkout", "inputs", "run", "upload"]
    assert stages[3].split() == ["inputs", "4.1", "s"]


def test_the_menu_runs_it_again_with_a_change(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.long))
    browser.find("#re-run summary").click()
    browser.find("#re-run a").click()
    browser.wait("location.pathname.includes('/run/') && document.readyState === 'complete'")
    field = browser.find("[name='parameter:learning_rate']")
    field.clear()
    field.send_keys("0.0007")
    browser.find(".run-buttons .primary").click()
    browser.wait("location.pathname.includes('/executions/') && document.readyState === 'complete'")
    assert "learning_rate 0.001 → 0.0007" in browser.find(".changed").text
    assert browser.complaints() == []
