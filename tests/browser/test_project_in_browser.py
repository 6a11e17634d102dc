"""The table of a project's executions in a real browser."""

from __future__ import annotations

import pytest
from demo_site import Browser, Site
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from core.model import Execution
from web.store import executions

pytestmark = pytest.mark.browser

TABLE = "/p/cells/"
NUMBERS = "[...document.querySelectorAll('#table tbody .first a')].map((link) => Number(link.textContent.slice(1)))"


def column(label: str) -> str:
    return f"[...document.querySelectorAll('#table td[data-label={label}]')].map((cell) => Number(cell.title))"


def test_the_best_of_200_is_found_by_a_click_and_is_bold(browser: Browser) -> None:
    browser.open(TABLE)
    browser.run(
        "[...document.querySelectorAll('#table thead a')].find((link) => link.textContent === 'accuracy').click()"
    )
    browser.wait("location.search === '?sort=-m.accuracy'")
    values = browser.wait(f"{column('accuracy')}.length > 10 && {column('accuracy')}")
    assert values == sorted(values, reverse=True)
    assert browser.run("return document.querySelector('#table tbody tr [data-label=accuracy] b') !== null")
    assert browser.complaints() == []


def test_a_filter_is_typed_its_terms_are_chips_and_a_chip_is_removed(browser: Browser) -> None:
    browser.open(TABLE)
    box = browser.find("#q")
    box.send_keys("accuracy > 0.9 and step = train and state = succeeded", Keys.ENTER)
    browser.wait("document.querySelectorAll('.chips li').length === 3")
    assert min(browser.run(f"return {column('accuracy')}")) > 0.9
    browser.find(".chips li:nth-child(2) a").click()
    browser.wait("document.querySelectorAll('.chips li').length === 2")
    assert browser.find("#q").get_attribute("value") == "accuracy > 0.9 and state = succeeded"
    assert browser.run(f"return {NUMBERS}.length") > 0
    assert browser.complaints() == []


def test_a_wrong_filter_says_what_is_meant(browser: Browser) -> None:
    browser.open(f"{TABLE}?q=acuracy+%3E+1")
    assert 'did you mean "accuracy"?' in browser.find("#filter-problem").text
    assert browser.find("#q").get_attribute("value") == "acuracy > 1"
    assert browser.complaints() == []


def test_the_next_page_and_back_show_the_same_executions(browser: Browser) -> None:
    browser.open(f"{TABLE}?sort=m.loss")
    first = browser.run(f"return {NUMBERS}")
    browser.find("[rel=next]").click()
    browser.wait("location.search.includes('after=')")
    assert not set(browser.run(f"return {NUMBERS}")) & set(first)
    browser.find("[rel=prev]").click()
    browser.wait("location.search.includes('before=')")
    assert browser.run(f"return {NUMBERS}") == first


def test_two_are_compared_and_the_legend_hides_one(browser: Browser, demo_site: Site) -> None:
    first, second = demo_site.demo.live, demo_site.demo.long
    browser.open(f"{TABLE}?q=number+%3D+{first.counter}+or+number+%3D+{second.counter}")
    assert not browser.find("#chosen").is_displayed()
    for execution in (first, second):
        browser.find(f".picked[value='{execution.counter}']").click()
    browser.find("#chosen .primary").click()
    browser.wait("location.pathname.endsWith('/compare/') && document.querySelector('#h-differences') !== null")
    line = "[...document.querySelectorAll('.comparison tbody tr')].find((row) => row.textContent.startsWith('learning_rate'))"
    values = f"[...{line}.querySelectorAll('td')].map((cell) => cell.title)"
    assert browser.run(f"return {values}") == ["0.003", "0.001"]
    shown = "[...document.querySelectorAll('.overlay polyline')].filter((line) => getComputedStyle(line).display !== 'none').length"
    both = browser.run(f"return {shown}")
    browser.find("#run-0").click()
    assert 0 < browser.run(f"return {shown}") < both
    browser.find(f"[aria-label='Make #{second.counter} the baseline']").click()
    browser.wait(f"location.search.includes('base={second.counter}')")
    assert browser.run(f"return {values}") == ["0.001", "0.003"]
    assert browser.complaints() == []


def test_a_comparison_has_images_and_says_the_values_under_the_pointer(browser: Browser, demo_site: Site) -> None:
    first, second = demo_site.demo.live, demo_site.demo.long
    browser.open(f"/p/{demo_site.demo.project.name}/compare/?e={first.counter}&e={second.counter}")
    browser.run("document.getElementById('h-images').scrollIntoView()")
    browser.wait(
        "[...document.querySelectorAll('.images img')].filter((image) => image.naturalWidth === 96).length === 2"
    )
    chart = browser.find("[data-series*='key=accuracy'] svg")
    browser.run("document.querySelector(\"[data-series*='key=accuracy']\").scrollIntoView({ block: 'center' })")
    ActionChains(browser.driver).move_to_element(chart).perform()
    readout = (
        "[...document.querySelectorAll(\"[data-series*='key=accuracy'] .readout span\")].map((row) => row.textContent)"
    )
    browser.wait(f"{readout}.length === 3 && {readout}[0].startsWith('index ')")
    live, long = browser.run(f"return {readout}")[1:]
    assert live == f"#{first.counter}\u2013"  # it has printed fewer lines
    assert float(long.removeprefix(f"#{second.counter}")) > 0
    heads = "[...document.querySelectorAll('.readout:not([hidden]) span:first-child')].map((head) => head.textContent)"
    browser.wait(f"{heads}.length === document.querySelectorAll('[data-series]').length && new Set({heads}).size === 1")
    ActionChains(browser.driver).move_to_element(browser.find("#run-0")).perform()
    browser.wait("[...document.querySelectorAll('.readout')].every((box) => box.hidden)")
    browser.find("#run-1").click()
    ActionChains(browser.driver).move_to_element(chart).perform()
    browser.wait(f"{readout}.join().includes('#{first.counter}') && {readout}.length === 2")
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [390, 1280])
def test_columns_are_chosen_and_the_address_has_them(browser: Browser, width: int) -> None:
    browser.look(width, 844)
    browser.open(f"{TABLE}?q=step+%3D+train")
    browser.find(".table-bar [href*='pick=1']").click()
    browser.wait("document.querySelector('.columns-of-table') !== null")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    for name in ("p.learning_rate", "m.accuracy"):
        browser.run(f"document.querySelector('.columns-of-table [value=\"{name}\"]').checked = false")
    box = browser.find(".columns-of-table [value='best.accuracy']")
    browser.run(
        "document.querySelector('.columns-of-table [value=\"best.accuracy\"]').scrollIntoView({ block: 'center' })"
    )
    box.click()
    browser.run("document.querySelector('.columns-of-table .primary').click()")
    browser.wait("location.search.includes('col=best.accuracy') && location.search.includes('q=step')")
    assert browser.run("return document.querySelector('.columns-of-table')") is None
    assert browser.run("return document.querySelectorAll('#table td[data-label=\"best accuracy\"]').length") > 10
    assert browser.run("return document.querySelectorAll('#table td[data-label=learning_rate]').length") == 0
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []


def test_lines_of_the_chart_have_the_colours_of_their_rows_and_the_chart_folds_away(browser: Browser) -> None:
    browser.open(f"{TABLE}?q=step+%3D+train&sort=-m.accuracy")
    lines = browser.run("return document.querySelectorAll('#strip use').length")
    assert 10 < lines == browser.run("return document.querySelectorAll('#table .trend-line').length")
    coloured = "['#strip use', '#table .swatch', '#table .trend-line'].map((one) => document.querySelector(one))"
    assert len(set(browser.run(f"return {coloured}.map((one) => getComputedStyle(one).color)"))) == 1
    box = browser.run("return document.querySelector('#strip svg').getBoundingClientRect().toJSON()")
    first = browser.run("return document.querySelector('#strip use').getBoundingClientRect().toJSON()")
    assert box["left"] - 2 <= first["left"] < first["right"] <= box["right"] + 2
    assert box["top"] - 2 <= first["top"] < first["bottom"] <= box["bottom"] + 2
    browser.find("#strip summary").click()
    browser.wait("!document.querySelector('#strip svg').checkVisibility()")
    assert browser.complaints() == []


def test_a_view_is_saved_and_brings_filter_and_order_back(browser: Browser) -> None:
    browser.open(f"{TABLE}?q=step+%3D+train&sort=-m.accuracy")
    browser.find("main .drop summary").click()
    browser.find("#view").send_keys("Best <b> runs", Keys.ENTER)
    browser.wait("document.querySelector('.views li a') !== null")
    browser.open(TABLE)
    browser.find("main .drop summary").click()
    assert browser.find(".views li a").text == "Best <b> runs"
    browser.find(".views li a").click()
    browser.wait("location.search === '?q=step+%3D+train&sort=-m.accuracy'")
    browser.find("main .drop summary").click()
    browser.find("[aria-label='Remove Best <b> runs']").click()
    browser.wait("document.querySelector('.views') !== null && document.querySelector('.views li') === null")
    assert browser.complaints() == []


def choose(browser: Browser, execution: Execution) -> None:
    box = f".picked[value='{execution.counter}']"
    browser.run(f"document.querySelector(\"{box}\").scrollIntoView({{block: 'center'}})")
    browser.find(box).click()


@pytest.mark.parametrize("width", [390, 1280])
def test_two_are_tagged_and_the_view_stays(browser: Browser, demo_site: Site, width: int) -> None:
    browser.look(width)
    both, tag = (demo_site.demo.long, demo_site.demo.failed), f"paper-{width}"
    for act, tagged in (("Add", True), ("Remove", False)):
        browser.open("/p/cells/?q=number+>+190")
        for execution in both:
            choose(browser, execution)
        assert browser.find("#how-many").text == "2 chosen"
        browser.find("#tag-chosen summary").click()
        browser.find("#tags").send_keys(tag, Keys.ENTER if act == "Add" else "")
        if act == "Remove":
            browser.find("#tag-chosen [formaction*=remove]").click()
        shown = f"document.querySelector('#table')?.textContent.includes('{tag}')"
        browser.wait(f"document.querySelectorAll('.picked:checked').length === 0 && {shown} === {str(tagged).lower()}")
        assert browser.run("return location.pathname + location.search") == "/p/cells/?q=number+%3E+190"
        assert [tag in executions.get(demo_site.db, one.id).tags for one in both] == [tagged, tagged]
    assert browser.complaints() == []


def test_a_tag_that_is_too_long_is_refused_at_its_field_and_kept(browser: Browser, demo_site: Site) -> None:
    browser.open("/p/cells/")
    choose(browser, demo_site.demo.long)
    browser.find("#tag-chosen summary").click()
    browser.find("#tags").send_keys(f"paper, {'x' * 101}", Keys.ENTER)
    assert browser.run("return document.querySelector('#tags').validity.patternMismatch")
    assert browser.run("return document.querySelector('#tags').value.length") == 108
    assert browser.run("return document.querySelectorAll('.picked:checked').length") == 1
    browser.find("#tags").send_keys(Keys.BACKSPACE)
    assert browser.run("return document.querySelector('#tags').validity.valid")


def test_the_address_of_a_comparison_has_no_empty_field(browser: Browser, demo_site: Site) -> None:
    browser.open("/p/cells/")
    for execution in (demo_site.demo.long, demo_site.demo.failed):
        choose(browser, execution)
    browser.find("#chosen .primary").click()
    browser.wait("location.pathname.endsWith('/compare/')")
    assert browser.run("return [...new URLSearchParams(location.search).keys()].join()") == "e,e"
