"""Output files: uploaded by a runner, downloaded with a signed link."""

from __future__ import annotations

import functools
import hashlib
import io
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from api_server import ApiServer, said
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from web.http import downloads
from web.http.app import create_app
from web.store import data


def files(api: ApiServer) -> list[Path]:
    """Return all files below the outputs directory."""
    return [path for path in api.config.outputs_dir.rglob("*") if path.is_file()]


def link(api: ApiServer, datum: str) -> str:
    address = urlsplit(api.json(f"data/{datum}/download/")["url"])
    assert (address.scheme, address.netloc) == ("http", "localhost")
    return f"{address.path}?{address.query}"


@pytest.fixture
def stored(api: ApiServer) -> str:
    execution, _ = api.started()
    datum = str(uuid.uuid4())
    assert api.upload(execution, "sub/model.bin", bytes(range(256)), datum).status_code == 200
    return datum


def test_an_output_is_hashed_and_lies_under_its_uuid(api: ApiServer) -> None:
    execution, _ = api.started()
    content, datum = b"\x00weights" * 500_000, str(uuid.uuid4())
    answer = api.upload(execution, "sub/model.bin", content, datum)
    assert answer.json == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    found = api.json(f"data/{datum}/")
    assert (found["name"], found["size"]) == ("sub/model.bin", len(content))
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    assert (found["sha1"], found["md5"]) == (hashlib.sha1(content).hexdigest(), hashlib.md5(content).hexdigest())
    assert files(api) == [data.get_path(api.config.outputs_dir, datum)]
    assert files(api)[0].read_bytes() == content


def test_the_same_output_again_is_one_file(api: ApiServer, stored: str) -> None:
    for _ in range(2):
        assert api.upload("demo:1", "x", b"").status_code == 404
        again = api.upload(api.json("executions/demo:1/")["id"], "sub/model.bin", bytes(range(256)), stored)
        assert again.status_code == 200
    assert len(files(api)) == len(api.json("data/")["results"]) == 1


def test_the_same_uuid_with_other_content_or_for_another_execution_is_a_conflict(api: ApiServer, stored: str) -> None:
    execution = api.json("executions/demo:1/")["id"]
    other, _ = api.started()
    assert api.upload(execution, "sub/model.bin", b"other", stored).status_code == 409
    assert api.upload(execution, "other", bytes(range(256)), stored).status_code == 409
    assert api.upload(other, "sub/model.bin", bytes(range(256)), stored).status_code == 409
    assert files(api)[0].read_bytes() == bytes(range(256))
    assert len(files(api)) == 1


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "..", "a/..", "nul\0", "x" * 1025])
def test_a_name_that_would_leave_the_directory_of_who_downloads_it_is_refused(api: ApiServer, name: str) -> None:
    execution, _ = api.started()
    assert api.upload(execution, name, b"x").status_code == 400
    assert files(api) == []


@pytest.mark.parametrize("name", ["x" * 1024, "a..b", "...", "new\nline", 'quo"te', "ä/€.txt", "sp ace", "a\\b", "-rf"])
def test_any_other_name_is_kept_and_can_be_downloaded(api: ApiServer, name: str) -> None:
    execution, _ = api.started()
    datum = str(uuid.uuid4())
    assert api.upload(execution, name, b"x", datum).status_code == 200
    assert api.json(f"data/{datum}/")["name"] == name
    answer = api.client.get(link(api, datum), buffered=True)
    assert (answer.status_code, answer.data) == (200, b"x")
    assert answer.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("datum", ["not-a-uuid", "../../x", "%2e%2e"])
def test_a_datum_is_named_by_a_uuid(api: ApiServer, datum: str) -> None:
    execution, _ = api.started()
    assert api.upload(execution, "x", b"x", datum).status_code == 404


def test_more_bytes_or_files_than_the_limits_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    api = ApiServer(tmp_path / "small", limits={"output_bytes": 1000, "output_count": 2})
    execution, _ = api.started()
    assert api.upload(execution, "large", b"x" * 1001).status_code == 400
    first = str(uuid.uuid4())
    assert api.upload(execution, "first", b"x" * 900, first).status_code == 200
    refused = api.upload(execution, "second", b"x" * 101)
    assert refused.status_code == 400
    assert refused.json is not None
    assert "output_bytes" in refused.json["detail"]
    assert api.upload(execution, "second", b"x" * 100).status_code == 200
    assert api.upload(execution, "third", b"").status_code == 400
    assert api.upload(execution, "first", b"x" * 900, first).status_code == 200
    assert len(files(api)) == 2
    api.close()


def test_a_sparse_file_is_stored_with_its_holes_and_served_with_its_content(api: ApiServer) -> None:
    execution, _ = api.started()
    datum, size = str(uuid.uuid4()), 50_000_000
    content = bytearray(size)
    content[20_000_000:20_000_005] = b"data!"
    assert api.upload(execution, "sparse", bytes(content), datum).status_code == 200
    [file] = files(api)
    assert file.stat().st_size == size
    assert file.stat().st_blocks * 512 < 1_000_000
    described = api.json(f"data/{datum}/")
    assert (described["size"], described["sha256"]) == (size, hashlib.sha256(content).hexdigest())
    assert api.client.get(link(api, datum), buffered=True).data == content
    tail = api.client.get(link(api, datum), headers={"Range": "bytes=19999999-20000005"}, buffered=True)
    assert (tail.status_code, tail.data) == (206, b"\0data!\0")


@pytest.mark.parametrize("verb", ["PUT outputs/{uuid}?attempt=1&name=x", "POST log?attempt=1&stream=stdout&{span}"])
def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(api: ApiServer, verb: str) -> None:
    """gunicorn ends the body without an error when the connection breaks, and so does this."""
    execution, _ = api.started()
    method, _, path = verb.format(uuid=uuid.uuid4(), span="start=0&end=100&first_us=0&last_us=0").partition(" ")
    builder = EnvironBuilder(f"/api/runner/executions/{execution}/{path.partition('?')[0]}", method=method)
    environment = builder.get_environ() | {
        "QUERY_STRING": path.partition("?")[2],
        "HTTP_AUTHORIZATION": "Token pm_runner_one",
        "CONTENT_LENGTH": "100",
        "wsgi.input": io.BytesIO(b"only this\n"),
        "wsgi.input_terminated": True,
    }
    _, status, _ = run_wsgi_app(api.app, environment)
    assert status.startswith("400")
    assert files(api) == []
    assert api.json("data/")["results"] == []
    assert said(api, execution, "stdout") == []


def test_what_a_killed_server_was_receiving_is_removed_by_the_next_one(api: ApiServer, stored: str) -> None:
    left = api.config.outputs_dir / ".incoming" / f"{uuid.uuid4()}.half"
    left.write_bytes(b"half")
    create_app(api.config)
    assert files(api) == [data.get_path(api.config.outputs_dir, stored)]


def test_a_file_that_a_killed_server_had_not_recorded_yet_is_removed_by_the_next_one(
    api: ApiServer, stored: str
) -> None:
    incoming, unrecorded = api.config.outputs_dir / ".incoming", str(uuid.uuid4())
    lost = data.get_path(api.config.outputs_dir, unrecorded)
    lost.parent.mkdir(exist_ok=True)
    lost.write_bytes(b"lost")
    for marked in (unrecorded, stored):
        (incoming / f"{marked}.x.placed").touch()
    create_app(api.config)
    assert files(api) == [data.get_path(api.config.outputs_dir, stored)]


def test_a_file_that_cannot_be_recorded_leaves_nothing(api: ApiServer) -> None:
    execution, _ = api.started()
    datum = str(uuid.uuid4())
    api.db.executescript(
        "CREATE TRIGGER no_room BEFORE INSERT ON datum BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
    )
    assert api.upload(execution, "x", b"x", datum).status_code == 500
    assert files(api) == []
    api.db.executescript("DROP TRIGGER no_room")
    assert api.upload(execution, "x", b"x", datum).status_code == 200
    assert files(api) == [data.get_path(api.config.outputs_dir, datum)]


def test_a_body_of_unknown_length_is_refused(api: ApiServer) -> None:
    execution, _ = api.started()
    headers = {"Authorization": "Token pm_runner_one", "Transfer-Encoding": "chunked"}
    path = f"/api/runner/executions/{execution}/outputs/{uuid.uuid4()}?attempt=1&name=x"
    assert api.client.put(path, headers=headers).status_code == 411


def test_an_upload_may_be_larger_than_other_bodies(api: ApiServer) -> None:
    execution, _ = api.started()
    assert api.upload(execution, "large", bytes(3 * 1024**2)).status_code == 200


def test_a_link_needs_no_token_and_a_browser_only_saves_what_is_behind_it(api: ApiServer, stored: str) -> None:
    answer = api.client.get(link(api, stored), buffered=True)
    assert (answer.status_code, answer.data) == (200, bytes(range(256)))
    assert answer.headers["Content-Disposition"] == "attachment; filename=model.bin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_a_download_is_resumed_by_ranges(api: ApiServer, stored: str) -> None:
    def ask(**headers: str) -> TestResponse:
        renamed = {name.replace("_", "-"): value for name, value in headers.items()}
        return api.client.get(link(api, stored), headers=renamed, buffered=True)

    part = ask(Range="bytes=250-")
    assert (part.status_code, part.data) == (206, bytes(range(250, 256)))
    assert part.headers["Content-Range"] == "bytes 250-255/256"
    assert ask(Range="bytes=0-0").data == b"\0"
    assert ask(Range="bytes=999-").status_code == 416
    tag = part.headers["ETag"]
    assert ask(If_None_Match=tag).status_code == 304
    assert ask(Range="bytes=1-1", If_Range=tag).status_code == 206
    assert ask(Range="bytes=1-1", If_Range='"other"').status_code == 200
    assert api.client.head(link(api, stored), buffered=True).headers["Content-Length"] == "256"


def test_a_link_that_was_changed_opens_nothing(api: ApiServer, stored: str) -> None:
    execution = api.json("executions/demo:1/")["id"]
    other = str(uuid.uuid4())
    api.upload(execution, "other", b"secret", other)
    good = link(api, stored)
    signature = good.partition("signature=")[2]
    for path in (
        good.replace(stored, other),
        good[:-2] + ("0" if good[-2] != "0" else "1") + good[-1],  # not all bits of the last character count
        good.partition("?")[0],
        f"/data/{stored}/x?signature=",
        f"/data/{stored}/x?signature=fffffw.{signature.partition('.')[2]}",
        f"/data/{stored}/x?signature={signature.partition('.')[2]}",
        f"/data/{stored}/x?signature=%C3%A4.%C3%A4",
    ):
        assert api.client.get(path).status_code == 403, path
    assert api.client.get(f"/data/{stored}/any-name?signature={signature}", buffered=True).status_code == 200


def test_a_link_is_good_for_an_hour(api: ApiServer, stored: str) -> None:
    signer = downloads._signer(api.app.extensions["pushmill"].vault)
    now = int(time.time())
    for made, status in ((now - 3500, 200), (now - 3602, 403), (now + 60, 403)):
        signer.get_timestamp = functools.partial(int, made)
        signature = signer.sign(stored).decode().removeprefix(f"{stored}.")
        assert api.client.get(f"/data/{stored}/x?signature={signature}", buffered=True).status_code == status


def test_a_datum_whose_bytes_are_gone_says_so(api: ApiServer, stored: str) -> None:
    signed = link(api, stored)
    data.get_path(api.config.outputs_dir, stored).unlink()
    for answer in (api.client.get(signed, buffered=True), api.get(f"data/{stored}/download/")):
        assert answer.status_code == 404
        assert "model.bin" in answer.text
