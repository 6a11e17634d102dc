"""Secrets are masked in every form that programs print, however the bytes arrive."""

from __future__ import annotations

import base64
import itertools
import json
import shlex
import time
from urllib.parse import quote, quote_plus

from hypothesis import example, given
from hypothesis import strategies as st

from core import secret_texts
from runner.logs.line_assembler import LineAssembler
from runner.logs.masking import Masker

TOKEN = "ghp_x7Kq2/Zt+9LmW4'vRs8~Yb"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC/+x\nBKcwggSjAgEA\nz==\n-----END KEY-----\n"
ACCOUNT = '{\n  "type": "service",\n  "password": "pä\\"ssw0rt-9"\n}'

VALUES = st.lists(
    st.text(alphabet="ab\"'\\/+= é\n", min_size=1, max_size=14) | st.sampled_from([TOKEN, KEY, ACCOUNT, "aaaaaa"]),
    min_size=1,
    max_size=3,
)


def shapes(value: str) -> list[bytes]:
    """What programs print of a value when they print it whole, each on one line."""
    value = value.strip()
    texts = [value, json.dumps(value)[1:-1], repr(value)[1:-1], quote(value), quote(value, safe=""), quote_plus(value)]
    texts += [shlex.quote(value).strip("'"), value.encode().hex()]
    for before in ("", "x", "user:"):
        encoded = base64.b64encode(before.encode() + value.encode() + b"\n").decode()
        texts += [encoded, encoded.replace("+", "-").replace("/", "_")]
    return [text.encode() for text in texts if text and "\n" not in text]


def known(values: list[str]) -> list[bytes]:
    """The stretches of bytes that nobody may see."""
    found = []
    for value in values:
        texts = [line.strip() for line in value.strip().split("\n") if len(line.strip()) >= secret_texts.MIN_CHARACTERS]
        if len(value.strip()) >= secret_texts.MIN_CHARACTERS:
            data = value.strip().encode()
            texts += [json.dumps(value.strip())[1:-1], quote(value.strip(), safe=""), data.hex()]
            inner = (base64.b64encode(b"\0" * n + data).decode().rstrip("=") for n in range(3))
            texts += [text[(0, 2, 3)[n] : 4 * (n + len(data)) // 3] for n, text in enumerate(inner)]
        found += [text.encode() for text in texts if "\n" not in text]
    return found


@st.composite
def printed(draw: st.DrawFn, line_ends: bool = True) -> tuple[list[str], bytes]:
    """Some secrets, and what a careless program prints of them between other things, whole and in parts."""
    values = draw(VALUES)
    forms = [shape for value in values for shape in shapes(value)] or [b"x"]
    parts = st.sampled_from(forms).flatmap(lambda form: st.integers(1, len(form)).map(lambda n: form[:n] or form))
    noise = st.sampled_from(
        [b" ", b"a", b"b", b"=", b"token: ", b"\xff", *([b"\n", b"\r", b"\r\n"] if line_ends else [])]
    )
    pieces = draw(st.lists(st.sampled_from(forms) | parts | noise, max_size=12))
    return values, b"".join(pieces)


CUTS = st.lists(st.integers(min_value=0, max_value=400), max_size=8)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def shown(values: list[str], parts: list[bytes], max_line: int) -> list[bytes]:
    """What leaves the runner, batch by batch, when the bytes come in these parts."""
    masker = Masker(values)
    assembler = LineAssembler(0, max_line, masker.hold)
    batches = [assembler.feed(part) for part in parts] + [assembler.flush()]
    found = [lines for lines in batches if lines is not None]
    assert [lines.start for lines in found[1:]] == [lines.end for lines in found[:-1]]
    return [masker.mask(lines.text) for lines in found]


@given(printed())
def test_what_is_masked_shows_no_form_of_any_secret(case: tuple[list[str], bytes]) -> None:
    values, data = case
    masked = Masker(values).mask(data)
    assert not [form for form in known(values) if form in masked]
    assert masked.count(b"\n") == data.count(b"\n")


@given(printed(), CUTS, st.integers(min_value=90, max_value=200))
def test_any_chunking_is_masked_like_the_whole_line_by_line(
    case: tuple[list[str], bytes], cuts: list[int], max_line: int
) -> None:
    values, data = case
    masker, assembler = Masker(values), LineAssembler(0, max_line, Masker(values).hold)
    whole = b"".join(lines.text for lines in (assembler.feed(data), assembler.flush()) if lines is not None)
    expected = b"".join(masker.mask(line) for line in whole.splitlines(keepends=True) or [whole])
    assert b"".join(shown(values, chunks(data, cuts), max_line)) == masker.mask(whole)
    assert masker.mask(whole).split(b"\n") == b"".join([expected]).split(b"\n")


@given(printed(line_ends=False), CUTS, st.integers(min_value=300, max_value=400))
@example(([TOKEN], TOKEN.encode()), [9], 300)
@example((["abcdefgh", "ghijklmn"], b"abcdefghij"), [], 400)
def test_cuts_never_show_a_secret_in_two_lines(case: tuple[list[str], bytes], cuts: list[int], max_line: int) -> None:
    values, data = case
    joined = b"".join(shown(values, chunks(data, cuts), max_line)).replace(b"\n", b"")
    assert not [form for form in known(values) if form in joined]


@given(printed(line_ends=False), CUTS, st.integers(min_value=300, max_value=400))
@example(([TOKEN], TOKEN.encode()), [9], 300)
@example((["abcdefgh", "ghijklmn"], b"abcdefghij"), [8], 400)
def test_a_preview_and_what_follows_it_never_show_a_secret(
    case: tuple[list[str], bytes], cuts: list[int], max_line: int
) -> None:
    """Nobody learns it by putting the rest of a line, which is printed later, behind what was shown of its beginning."""
    values, data = case
    masker = Masker(values)
    assembler = LineAssembler(0, max_line, masker.hold)
    fed = b""
    for part in chunks(data, cuts):
        assembler.feed(part)
        fed += part
        if len(fed) <= max_line:
            preview = assembler.preview()
            rest = data[len(preview) :]
            seen = masker.mask(preview) + masker.mask(rest)
            assert not [form for form in known(values) if form in seen], preview


@given(printed(), CUTS, st.integers(min_value=90, max_value=200))
@example((["hunter22"], b"x hunt\rnew"), [7], 200)
def test_starting_anew_where_any_batch_ended_loses_and_doubles_nothing(
    case: tuple[list[str], bytes], cuts: list[int], max_line: int
) -> None:
    values, data = case
    hold, fed = Masker(values).hold, 0
    assembler = LineAssembler(0, max_line, hold)
    for part in chunks(data, cuts):
        lines, fed = assembler.feed(part), fed + len(part)
        if lines is not None:
            heir = LineAssembler(lines.end, max_line, hold)
            assert heir.feed(data[lines.end : fed]) is None


def test_a_secret_after_a_user_name_is_masked_in_basic_authentication() -> None:
    for user in ("", "x", "ab", "deploy-bot"):
        header = base64.b64encode(f"{user}:{TOKEN}".encode()).decode()
        masked = Masker([TOKEN]).mask_text(f"Authorization: Basic {header}")
        assert len(masked) < len("Authorization: Basic ***") + 4 * (len(user) + 3) / 3 + 4


def test_a_prompt_that_ends_in_the_beginning_of_a_secret_is_shown_without_it() -> None:
    masker = Masker(["hunter22"])
    assembler = LineAssembler(0, hold=masker.hold)
    assembler.feed(b"password: hun")
    assert assembler.preview() == b"password: "
    lines = assembler.feed(b"ter22\n")
    assert lines is not None
    assert masker.mask(lines.text) == b"password: ***\n"


def test_what_is_held_comes_out_at_the_end() -> None:
    assembler = LineAssembler(0, hold=Masker(["hunter22"]).hold)
    assembler.feed(b"hunt")
    assert assembler.preview() == b""
    lines = assembler.flush()
    assert lines is not None
    assert (lines.text, lines.end) == (b"hunt\n", 4)


def test_a_long_line_is_cut_before_a_secret_and_one_of_secrets_alone_still_ends() -> None:
    masker = Masker(["hunter22", "aaaaaa"])
    assembler = LineAssembler(0, 20, masker.hold)
    lines = assembler.feed(b"x" * 16 + b"hunter22" + b"y" * 5 + b"\n" + b"a" * 50 + b"\n")
    assert lines is not None
    assert lines.text.split(b"\n")[:3] == [b"x" * 16, b"hunter22" + b"y" * 5, b"a" * 20]


def test_a_million_lines_without_a_secret_in_them_cost_a_fraction_of_a_second() -> None:
    batch = b"".join(b"step %06d loss 0.123456 accuracy 0.654321 learning rate 0.001 and some words that fill it up\n" % i
                     for i in range(3000))  # fmt: skip
    masker = Masker([TOKEN, "sk-proj-" + "4f9a" * 12])
    started = time.process_time()
    for _ in range(50):
        assert masker.mask(batch) is batch
    assert time.process_time() - started < 0.5  # for a sixth of a million lines
    assert Masker().mask(batch) is batch
