"""The page of an execution in a real browser."""

from __future__ import annotations

import time

import pytest
from demo_site import Browser, Site
from instance import wait_for
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from web.services.executions import lifecycle
from web.store import executions, metadata, usage
from web.store.db import transaction

pytestmark = pytest.mark.browser

IN_VIEW = (
    "(() => {{ const line = document.getElementById('L{0}')?.getBoundingClientRect();"
    " const box = document.getElementById('log').getBoundingClientRect();"
    " return Boolean(line) && line.top >= box.top && line.bottom <= box.bottom; }})()"
)


def in_view(line: int) -> str:
    return IN_VIEW.format(line)


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


def test_metadata_that_comes_reaches_the_head_and_the_values(browser: Browser, demo_site: Site) -> None:
    browser.open(demo_site.page(demo_site.demo.live))
    browser.wait("document.getElementById('connection').textContent === 'live'")
    demo_site.say('{"epoch": 17, "loss": 0.125, "accuracy": 0.9625, "a new key": 7.5}\n')
    value = "document.querySelector('#latest tr[data-key=\"{}\"] td')?.textContent"
    browser.wait(f"{value.format('loss')} === '0.125'")
    browser.wait(f"{value.format('a new key')} === '7.5'")
    browser.wait("document.getElementById('main-metric').textContent === 'accuracy 0.9625'")
    assert browser.complaints() == []


def test_without_the_chart_library_the_sparklines_stay(browser: Browser, demo_site: Site) -> None:
    browser.driver.execute_cdp_cmd("Network.enable", {})
    browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*uPlot*"]})
    try:
        for tab, drawn in (("", 1), ("charts/", 5)):
            browser.open(demo_site.page(demo_site.demo.long, tab))
            assert browser.run("return document.querySelectorAll('#charts .plot polyline').length") == drawn
        browser.open(demo_site.page(demo_site.demo.long, "resources/"))
        assert browser.run("return document.querySelectorAll('#resources .plot polyline').length") == 3
    finally:
        browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


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
    browser.wait(f"{row}.querySelector('b').textContent === '3 %'", 20)
    browser.wait("document.querySelector('#resources [data-kind=memory] b').textContent === '77.0 GiB'", 20)
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
    first = executions.by_counter(demo_site.db, demo_site.demo.project.id, 1)
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
