from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.services.presentation.ansi import to_html

TAG = re.compile(r'<span class="[a-z0-9 ]+">|</span>')


@pytest.mark.parametrize(
    ("line", "html"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", '<span class="f1">red</span>'),
        ("\x1b[1;4;92mok\x1b[22;24;39m.", '<span class="b u f10">ok</span>.'),
        ("\x1b[44m\x1b[97mx\x1b[49m\x1b[my", '<span class="f15 k4">x</span>y'),
        ("\x1b[38;5;9mx", '<span class="f9">x</span>'),
        ("\x1b[38;5;196mx", '<span class="f9">x</span>'),
        ("\x1b[48;2;10;200;10mx", '<span class="k2">x</span>'),
        ("\x1b[38:2:250:250:250mx", '<span class="f15">x</span>'),
        ("\x1b[38;5mx", "x"),
        ("\x1b[2K\x1b[1Aup", "up"),
    ],
)
def test_colours_become_classes(line: str, html: str) -> None:
    assert to_html(line) == html


def test_of_a_progress_bar_the_last_version_is_shown() -> None:
    assert to_html("10%\r 50%\r100%\r") == "100%"


@pytest.mark.parametrize("end", ["\x07", "\x1b\\", "\x9c"])
def test_hyperlinks_and_titles_are_dropped_and_their_text_stays(end: str) -> None:
    assert to_html(f"a\x1b]8;;javascript:alert(1){end}b\x1b]8;;{end}c\x1b]0;title{end}d") == "abcd"


def test_an_unfinished_sequence_takes_the_rest_of_its_line_and_no_more() -> None:
    assert to_html("a\x1b]8;;http://x") == "a"
    assert to_html("a\x1b[31") == "a31"


def test_control_and_bidirectional_characters_can_be_seen() -> None:
    assert to_html("a\x08b\x00\u202ec\u200b") == "a␈b␀⟨U+202E⟩c⟨U+200B⟩"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b[]<>&\"'m;38P\x9b\x9d\r")), max_size=60))
def test_whatever_is_printed_only_our_own_tags_come_out(line: str) -> None:
    html = to_html(line)
    assert not re.search(r"[<>\"']", TAG.sub("", html))
    assert html.count("<span") == html.count("</span>")
    assert "\x1b" not in html
