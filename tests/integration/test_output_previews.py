"""Previews of outputs, and archives of them: nothing active is ever served from the server's origin."""

from __future__ import annotations

import io
import re
import uuid
import zipfile

import pytest
from api_server import ApiServer
from site_client import Person

from core.model import Execution
from web.http.pages import execution_outputs

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
EVIL = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
FILES = {
    "a.png": PNG, "b.svg": EVIL, "c.html": b"<script>alert(1)</script>", "d.csv": b"x,y\n1,<b>\n", "e.json": b'{"k":[1]}',
    "deep/f.wav": b"RIFF0000WAVEfmt ", "g.bin": bytes(99), "h.png": EVIL, "i.txt": b"text\n" * 30_000, "k.csv": b"\xff\n'\"",
    "l.json": b"[" * 60_000,
}  # fmt: skip


@pytest.fixture
def person(api: ApiServer) -> Person:
    person = Person(api)
    person.log_in()
    return person


@pytest.fixture
def stored(api: ApiServer) -> tuple[Execution, dict[str, str]]:
    """An execution with FILES, and the uuid of each."""
    execution, _ = api.started()
    uuids = {name: str(uuid.uuid4()) for name in FILES}
    for name, content in FILES.items():
        assert api.upload(execution, name, content, uuids[name]).status_code == 200
    return api.execution(execution), uuids


def test_only_images_and_sound_are_served_to_be_shown(person: Person, stored: tuple[Execution, dict[str, str]]) -> None:
    execution, uuids = stored
    path, kinds = f"/p/demo/executions/{execution.counter}/media/", {}
    for name, datum in uuids.items():
        answer = person.get(path + datum)
        kinds[name] = answer.mimetype if answer.status_code == 200 else answer.status_code
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if answer.status_code == 200:
            assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        answer.close()
    assert {name: kind for name, kind in kinds.items() if kind != 404} == {
        "a.png": "image/png",
        "deep/f.wav": "audio/wav",
    }


@pytest.mark.parametrize(("name", "shown"), [
    ("a.png", r'<img src="/p/demo/executions/1/media/'),
    ("b.svg", r"&lt;svg xmlns"),
    ("c.html", r"&lt;script&gt;alert"),
    ("d.csv", r"<td>&lt;b&gt;</td>"),
    ("e.json", r"\{\n  &#34;k&#34;: \["),
    ("deep/f.wav", r"<audio controls"),
    ("g.bin", r"This file has no preview"),
    ("h.png", r"&lt;svg xmlns"),
    ("i.txt", r"This is the beginning of the file, 146 KiB in all"),
    ("k.csv", r"<th scope=\"col\">"),
    ("l.json", r"\[\[\["),
])  # fmt: skip
def test_a_preview_is_made_by_the_server(
    person: Person, stored: tuple[Execution, dict[str, str]], name: str, shown: str
) -> None:
    execution, uuids = stored
    page = person.get(f"/p/demo/executions/{execution.counter}/outputs/?show={uuids[name]}").text
    assert re.search(shown, page)
    assert len(page) < 160_000
    scripts = re.findall(r"<script[^>]*>", page)
    assert all('src="/static/' in script for script in scripts)  # the page's own


def test_outputs_of_others_have_no_preview_here(
    api: ApiServer, person: Person, stored: tuple[Execution, dict[str, str]]
) -> None:
    _, uuids = stored
    other = api.add_execution().counter
    assert person.get(f"/p/demo/executions/{other}/media/{uuids['a.png']}").status_code == 404
    assert person.get(f"/p/demo/executions/{other}/outputs/?show={uuids['a.png']}").status_code == 404
    assert person.get(f"/p/demo/executions/{other}/outputs/?show=x").status_code == 404


def test_all_outputs_are_one_archive(
    person: Person, stored: tuple[Execution, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    execution, _ = stored
    path = f"/p/demo/executions/{execution.counter}/outputs.zip"
    answer = person.get(path)
    assert (answer.mimetype, answer.headers["Content-Disposition"]) == (
        "application/zip", f"attachment; filename=demo-{execution.counter}.zip",
    )  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
    monkeypatch.setattr(execution_outputs, "ZIP_FILES", 10)
    assert person.get(path).status_code == 409
