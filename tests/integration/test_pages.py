"""The pages: who may see them, what they show, and that no text from outside is executed."""

from __future__ import annotations

import csv
import html
import json
import re
import uuid
from html.parser import HTMLParser

import pytest
from api_server import ApiServer
from flask import render_template_string
from jinja2 import UndefinedError
from site_client import Person

from core.model import Execution, PushEvent
from web.http import auth
from web.store import deliveries, logs, projects, pushes
from web.store.db import execute, transaction
from web.store.deliveries import DeliveryState, Received
from web.store.pushes import NewPush, PushOutcome

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e\x07"
SETTINGS = tuple(
    f"/p/demo/settings/{part}" for part in ("runs/", "rules/", "variables/", "members/", "badge/", "delete/")
)
PAGES = (
    "/", "/runners/", "/environments/", "/p/demo/", "/p/demo/commits/", "/p/demo/commits/{sha}/", "/p/demo/settings/", *SETTINGS,
    "/p/demo/activity/", "/p/demo/activity/?show=problems", "/p/demo/deliveries/1/", "/p/demo/deliveries/1/body.txt",
    "/p/demo/executions/{n}/", "/p/demo/executions/{n}/log/", "/p/demo/executions/{n}/charts/",
    "/p/demo/executions/{n}/outputs/", "/p/demo/executions/{n}/resources/", "/p/demo/executions/{n}/configuration/",
    "/p/demo/executions/{n}/log.html", "/p/demo/tasks/", "/p/demo/pipelines/",
    "/p/demo/executions/{n}/log.txt", "/p/demo/executions/{n}/series?key=loss", "/p/demo/executions/{n}/news",
    "/p/demo/executions/{n}/usage", "/p/demo/executions/{n}/series.csv?key=loss", "/p/demo/executions/{n}/log/search?q=x",
)  # fmt: skip


class Live(HTMLParser):
    """Collects what a browser would run or follow."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        inline = tag == "script" and not values.get("src", "").startswith("/static/")
        if inline or tag in ("style", "iframe", "base", "object", "embed") or "style" in values:
            self.found.append(tag)
        if tag == "img" and not re.match(r"/badge/|/p/demo/executions/[0-9]+/media/", values.get("src", "")):
            self.found.append(tag)
        self.found += [name for name in values if name.startswith("on")]
        self.found += [v for n, v in values.items() if n in ("href", "src", "action") and not re.match(r"[/?#]", v)]


@pytest.fixture
def person(api: ApiServer) -> Person:
    person = Person(api)
    person.log_in()
    return person


def ran(api: ApiServer, *lines: bytes) -> Execution:
    """A started execution that has printed lines."""
    execution_uuid, _ = api.started()
    if lines:
        assert api.log(execution_uuid, b"".join(line + b"\n" for line in lines), 0).status_code == 200
    return api.execution(execution_uuid)


OPEN = ("public", "signed")


def test_every_page_is_for_people_who_are_logged_in(api: ApiServer, person: Person) -> None:
    execution, repository = ran(api, b'{"loss": 0.5}'), projects.list_repositories(api.db, api.demo.id)[0]
    deliveries.store(api.db, Received(repository.id, "plain", "push", body=b"{}"), "1")
    for pattern in PAGES:
        path = pattern.format(sha=api.commit.identifier, n=execution.counter)
        assert person.get(path).status_code == 200, path
        stranger = api.app.test_client().get(path)
        assert (stranger.status_code, stranger.location.partition("?")[0]) == (303, "/login"), path
        assert person.get(path).headers["Content-Security-Policy"].startswith(("default-src 'none'", "sandbox")), path


def test_few_routes_are_for_everybody(api: ApiServer) -> None:
    known = {
        "api_reference.show", "appearance.choose", "badges.badge", "documentation.first", "documentation.show",
        "downloads.download", "healthz", "invitations.accept", "invitations.show", "logins.begin", "logins.finish",
        "session.log_in", "session.login", "static", "v0.POST get-token", "v0.openapi", "receive.receive",
    }  # fmt: skip
    found = {endpoint for endpoint in api.app.view_functions if auth.find_permission(api.app, endpoint) in OPEN}
    assert found == known


@pytest.mark.parametrize(
    "path",
    ["/nope", "/p/none/", "/p/demo/executions/99/", "/p/demo/executions/99999999999999999999/", "/p/demo/commits/zz/"],
)
def test_what_is_not_there_is_a_page_too(person: Person, path: str) -> None:
    answer = person.get(path)
    assert answer.status_code == 404
    assert "<h1>Not Found</h1>" in answer.text


@pytest.mark.parametrize("query", ["first=-1", "first=x", "first=99999999999999999999", "count=²"])
def test_numbers_in_queries_are_checked(api: ApiServer, person: Person, query: str) -> None:
    execution = ran(api, b"x")
    assert person.get(f"/p/demo/executions/{execution.counter}/log.html?{query}").status_code == 400


def test_the_first_page_says_how_to_push(api: ApiServer, person: Person) -> None:
    execute(api.db, "DELETE FROM git_commit")
    execute(api.db, "DELETE FROM repository")
    execute(api.db, "DELETE FROM member")
    execute(api.db, "DELETE FROM project")
    page = person.get("/").text
    assert "git push http://admin:TOKEN@localhost/git/NAME.git main" in page


def test_nothing_from_outside_is_alive_on_any_page(api: ApiServer, person: Person) -> None:
    execution = ran(api, EVIL.encode(), json.dumps({EVIL: EVIL, "loss": 1, "x" * 150: [EVIL]}).encode())
    sick = json.dumps({EVIL: EVIL})
    with transaction(api.db):
        sql = (
            "UPDATE execution SET step = ?, title = ?, image = ?, commands = ?, parameters = ?, inputs = ?, tags = ?,"
            " environment_variables = ?, environment = ?, status_detail = ?, image_digest = ?"
        )
        inputs = json.dumps({EVIL: {"urls": [f"javascript:{EVIL}"]}})
        words = json.dumps([EVIL])
        execute(api.db, sql, (EVIL, EVIL, EVIL, words, sick, inputs, words, sick, EVIL, EVIL, EVIL))
        problems = (EVIL, EVIL, words, words)
        execute(
            api.db,
            "UPDATE git_commit SET message = ?, author = ?, ref_names = ?, problems = ?, config_state = 'broken'",
            problems,
        )
        execute(api.db, "UPDATE project SET description = ?", (EVIL,))
        execute(
            api.db,
            "UPDATE repository SET default_branch = ?, full_name = ?, url = ?",
            (EVIL, EVIL, f"javascript:{EVIL}"),
        )
        execute(
            api.db,
            "UPDATE runner SET info = ?",
            (json.dumps({"version": EVIL, "load": EVIL, "docker_version": [EVIL]}),),
        )
        repository = projects.list_repositories(api.db, api.demo.id)[0]
        event = PushEvent(ref=f"refs/heads/{EVIL}", before="0", after="1", pusher=EVIL, options=(EVIL,), identity="1")
        push = pushes.add_push(api.db, NewPush(repository_id=repository.id, event=event))
        assert push is not None
        pushes.finish_push(api.db, push, PushOutcome(commit_id=api.commit.id, text=EVIL, skipped=[(EVIL, EVIL)]))
        headers, body = {EVIL: EVIL, "x-github-event": EVIL}, json.dumps({EVIL: [EVIL, {"ref": EVIL}]}).encode()
        evil = Received(repository.id, EVIL, EVIL, headers, body)
        row, _ = deliveries.store(api.db, evil, EVIL)
        deliveries.finish(api.db, row, DeliveryState.FAILED, EVIL)
        execute(api.db, "UPDATE push SET delivery_id = ?", (row,))
        deliveries.refuse(api.db, api.demo.id, evil, EVIL, EVIL)
    assert api.upload(execution.uuid, EVIL.replace("/", "-").replace("\x07", "\n"), b"x").status_code == 200
    deep = ("/p/demo/deliveries/2/", "/p/demo/settings/badge/?branch=x&step=" + EVIL + "&metric=" + EVIL)
    for pattern in (
        *(path for path in PAGES if path.endswith(("/", ".html"))),
        *deep,
        "/p/demo/?q=" + EVIL,
        "/p/demo/?q=%22" + EVIL.replace('"', "") + "%22",
        "/p/demo/?col=m." + EVIL,
        "/p/demo/?sort=m." + EVIL,
        "/login?next=" + EVIL,
    ):
        path = pattern.format(sha=api.commit.identifier, n=execution.counter)
        page = person.get(path, follow_redirects=True).text
        assert Live(page).found == [], path
        assert "\u202e" not in page, path
        assert "\x07" not in page, path
    news = json.loads(person.get(f"/p/demo/executions/{execution.counter}/news").text)
    assert Live(news["log"]["html"] + news["state"]["head"]).found == []


def test_the_table_sorts_by_any_metadata_key_with_the_rest_behind(api: ApiServer, person: Person) -> None:
    for line in (b'{"loss": 0.5}', b'{"loss": 0.125}', b"nothing", b'{"loss": "2.5"}'):
        ran(api, line)

    def order(query: str) -> list[int]:
        return [
            int(n)
            for n in re.findall(
                r'scope="row" class="n first">.*?<a href="[^"]+">#(\d+)', person.get(f"/p/demo/?{query}").text
            )
        ]

    assert order("sort=m.loss") == [2, 1, 4, 3]
    assert order("sort=-m.loss") == [4, 1, 2, 3]
    assert order("sort=-m.none") == [4, 3, 2, 1]
    assert order("sort=number") == [1, 2, 3, 4]
    assert order("sort=drop table") == [4, 3, 2, 1]
    assert order("q=state = complete") == []
    assert 'aria-sort="ascending"' in person.get("/p/demo/?sort=m.loss").text


def test_links_to_the_next_page_lead_to_every_execution_once(api: ApiServer, person: Person) -> None:
    for i in range(103):
        execution = api.add_execution()
        if i % 2:
            execute(api.db, "INSERT OR IGNORE INTO metadata_key (name) VALUES ('loss')")
            execute(api.db, "INSERT INTO latest VALUES (?, 1, 0, 0, ?, ?, 1, 1, 0, ?, ?)", (execution.id, i, i, i, i))
    for sort in ("-number", "m.loss", "state"):
        seen, query = [], f"?sort={sort}&q=number+%3E+1"
        while query:
            page = html.unescape(person.get(f"/p/demo/{query}").text)
            seen += [int(n) for n in re.findall(r">#(\d+)</a></th>", page)]
            query = next(iter(re.findall(r'rel="next" href="([^"]+)"', page)), "")
        assert sorted(seen) == list(range(2, 104)), sort


def test_a_filter_that_cannot_be_read_says_why_and_keeps_the_text(api: ApiServer, person: Person) -> None:
    ran(api, b'{"loss": 0.5}')
    page = person.get('/p/demo/?q=los > 1 "<b>"').text
    assert "character 1 of the filter" in page
    assert "did you mean &#34;loss&#34;?" in page
    assert 'value="los &gt; 1 &#34;&lt;b&gt;&#34;"' in page
    assert ">#1</a></th>" not in page
    assert "#1</a></th>" in person.get("/p/demo/?q=loss = 0.5").text


@pytest.mark.parametrize(("tab", "lines"), [("", 200), ("log/", 500)])
def test_a_page_holds_the_last_lines_and_fetches_the_others(
    api: ApiServer, person: Person, tab: str, lines: int
) -> None:
    execution = ran(api, *(b"line %d" % i for i in range(2500)))
    page = person.get(f"/p/demo/executions/{execution.counter}/{tab}").text
    total = int(re.findall(r'data-total="(\d+)"', page)[0])
    numbers = [int(n) for n in re.findall(r'id="L(\d+)"', page)]
    assert numbers == list(range(total - lines + 1, total + 1))
    earlier = person.get(f"/p/demo/executions/{execution.counter}/log.html?first=0&count=1900").text
    assert [int(n) for n in re.findall(r'id="L(\d+)"', earlier)] == list(range(1, 1901))
    around = person.get(f"/p/demo/executions/{execution.counter}/{tab}?line=7").text
    assert 'id="L7"' in around


def test_the_first_line_of_a_folded_command_stands_for_all_of_its_lines(api: ApiServer, person: Person) -> None:
    execution, _ = api.started()
    sent = {"status": 0, "stdout": 0}
    for stream, text in (
        ("status", b"Command 1 of 2: pip install\n"), ("stdout", b"collected\n" * 700),
        ("status", b"Command 2 of 2: cat\n"), ("stdout", b"printed\n" * 3),
        ("status", b"Command 2 of 2 exited with 1: `cat`\n"),
    ):  # fmt: skip
        assert api.log(execution, text, sent[stream], stream=stream).status_code == 200
        sent[stream] += len(text)
    path = f"/p/demo/executions/{api.execution(execution).counter}/"
    page = person.get(f"{path}log/").text
    assert "collected" not in page
    assert page.count("printed") == 3
    assert re.search(r'id="L(\d+)" class="status head command" data-lines="701"', page)
    assert "700 lines · " in page
    assert "exit code 1" in page
    assert person.get(f"{path}log/?line=300").text.count("collected") > 300
    whole = person.get(f"{path}log.html?folded=").text
    assert (whole.count("collected"), whole.count("printed")) == (700, 3)
    both = person.get(f"{path}log.html?folded=1,2,x,99").text
    assert both.count("data-lines=") == 2
    assert "printed" not in both


def test_a_word_is_found_in_the_whole_log(api: ApiServer, person: Person) -> None:
    execution = ran(api, *(b"line %d" % i for i in range(2500)), b"an Error <b>")
    path = f"/p/demo/executions/{execution.counter}/log/search"
    assert json.loads(person.get(f"{path}?q=line+24").text) == {
        "lines": [27, *range(243, 253), *range(2403, 2503)],
        "next": None,
    }
    assert json.loads(person.get(f"{path}?q=line+24&first=2500").text)["lines"] == [2500, 2501, 2502]
    assert json.loads(person.get(f"{path}?q=an&show=errors").text)["lines"] == [2503]
    assert json.loads(person.get(f"{path}?q=nowhere&show=errors").text)["lines"] == []
    assert json.loads(person.get(f"{path}?q=created&show=stdout").text)["lines"] == []
    assert json.loads(person.get(f"{path}?q=e&show=status").text)["lines"] == [1, 2]
    for bad in ("q=a&show=x", "q=a&metrics=x", "q=a%0Ab", "q=a&first=x"):
        assert person.get(f"{path}?{bad}").status_code == 400, bad


def test_a_filtered_log_has_the_lines_of_a_stream_the_errors_or_no_metrics(api: ApiServer, person: Person) -> None:
    execution, _ = api.started()
    sent = {"status": 0, "stdout": 0, "stderr": 0}
    for stream, text in (
        ("status", b"Command 1 of 2: pip install\n"), ("stdout", b"collected\n"), ("stderr", b"a warning\n"),
        ("status", b"Command 2 of 2: cat\n"), ("stdout", b'{"loss": 0.5}\nan <Error>\n' * 2),
        ("stderr", b"the exception\n"),
    ):  # fmt: skip
        assert api.log(execution, text, sent[stream], stream=stream).status_code == 200
        sent[stream] += len(text)
    path = f"/p/demo/executions/{api.execution(execution).counter}/"

    def numbers(query: str) -> tuple[list[int], list[int], str]:
        """Of the tab, of a block, and what the block covers."""
        tab = person.get(f"{path}log/?{query}").text
        block = person.get(f"{path}log.html?{query}&folded=")
        shown = [[int(number) for number in re.findall(r'id="L(\d+)"', html)] for html in (tab, block.text)]
        return shown[0], shown[1], block.headers["Log-Lines"]

    assert numbers("show=stderr") == ([3, 5, 6, 11], [3, 5, 6, 11], "0-11")
    assert numbers("show=errors") == ([3, 6, 8, 10, 11], [3, 6, 8, 10, 11], "0-11")
    assert numbers("metrics=hidden") == ([1, 2, 3, 6, 8, 10, 11], [1, 2, 3, 4, 5, 6, 8, 10, 11], "0-11")
    assert numbers("show=stdout&metrics=hidden")[0] == [3, 4, 6, 8, 10]
    assert numbers("show=status")[0] == [1, 2, 3, 6]
    assert numbers("show=errors&line=9")[0] == [3, 6, 8, 10, 11]
    assert numbers("show=errors&before=8")[0] == [3, 6, 8]
    block = person.get(f"{path}log.html?show=errors&folded=1,2&before=11&count=2")
    assert (re.findall(r'id="L(\d+)"', block.text), block.headers["Log-Lines"]) == (["10", "11"], "9-11")
    assert 'aria-current="true">Errors<' in person.get(f"{path}log/?show=errors").text
    assert "No lines match this filter.</p>" in person.get(f"{path}log/?show=status").text
    followed = json.loads(person.get(f"{path}news?after=6-0&show=errors").text)["log"]
    assert (followed["from"], followed["to"], re.findall(r'id="L(\d+)"', followed["html"])) == (
        6,
        11,
        ["8", "10", "11"],
    )
    assert [person.get(f"{path}{page}").status_code for page in ("log/?show=x", "log.html?metrics=1", "events?show=x")] == [
        400, 400, 400,
    ]  # fmt: skip


def test_the_whole_log_is_downloaded_as_it_was_printed(api: ApiServer, person: Person) -> None:
    execution = ran(api, b"\x1b[31mred\x1b[0m", b"\xff\xfe", b"last")
    answer = person.get(f"/p/demo/executions/{execution.counter}/log.txt")
    assert answer.data.endswith(b"\x1b[31mred\x1b[0m\n\xff\xfe\nlast\n")
    assert answer.headers["Content-Disposition"] == f"attachment; filename=demo-{execution.counter}.log.txt"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_log_whose_files_are_lost_says_so_everywhere_and_goes_on(api: ApiServer, person: Person) -> None:
    execution = ran(api, b"one", b"two")
    page = f"/p/demo/executions/{execution.counter}/"
    for path in logs.list_files(api.config.logs_dir, execution):
        path.unlink()
    said = "4 lines of the log are missing"  # two of them are the server's own
    assert said in person.get(page).text
    assert api.log(execution.uuid, b"three\n", 8).status_code == 200
    for address in (page, f"{page}log.html", f"{page}log.txt", f"{page}news?after=0-0"):
        text = person.get(address).text
        assert said in text, address
        assert "three" in text, address
    assert '<div id="L1" class="status" data-lines="4">' in person.get(page).text
    assert json.loads(person.get(f"{page}news?after=2-0").text)["position"] == "5-0"
    events = api.json(f"executions/{execution.uuid}/events/")["events"]
    assert [event["message"].partition(":")[0] for event in events] == [said, "three"]
    assert said in api.json(f"executions/{execution.uuid}/status-events/")["status_events"][0]["message"]
    assert said in person.get(f"/p/demo/commits/{execution.commit_identifier}/").text


def test_a_very_long_line_is_cut_on_the_page(api: ApiServer, person: Person) -> None:
    execution = ran(api, b"x" * 500_000)
    page = person.get(f"/p/demo/executions/{execution.counter}/").text
    assert len(page) < 100_000
    assert "484 KiB more in the full log" in page


def test_a_chart_of_many_points_keeps_every_spike(api: ApiServer, person: Person) -> None:
    lines = [
        b'{"loss": %d, "epoch": %d}' % (999 if i == 7777 else -999 if i == 3333 else i % 10, i // 100)
        for i in range(12_000)
    ]
    execution_uuid, _ = api.started()
    offset = 0
    for start in range(0, len(lines), 4000):
        text = b"".join(line + b"\n" for line in lines[start : start + 4000])
        assert api.log(execution_uuid, text, offset).status_code == 200
        offset += len(text)
    path = f"/p/demo/executions/{api.execution(execution_uuid).counter}/series?key=loss"
    found = json.loads(person.get(path).text)
    assert found["points"] == 12_000
    assert len(found["y"]) <= 1000
    assert (max(found["y"]), min(found["y"])) == (999, -999)
    assert found["x"][found["y"].index(999)] == 7777
    assert (found["x"] == sorted(found["x"]), found["x"][-1], found["y"][-1]) == (True, 11_999, 9)
    by_epoch = json.loads(person.get(f"{path}&x=key.epoch").text)
    assert by_epoch["x"][by_epoch["y"].index(999)] == 77
    assert len(json.loads(person.get(f"{path}&x=time").text)["x"]) == len(found["y"])
    assert person.get(f"{path}&x=other").status_code == 400


def test_what_changed_since_the_run_before_links_the_changes_of_the_commits(api: ApiServer, person: Person) -> None:
    first = ran(api, b'{"loss": 0.5, "epoch": 3}')
    assert "What changed since" not in person.get(f"/p/demo/executions/{first.counter}/").text
    execute(api.db, "UPDATE repository SET url = 'https://gitlab.com/ada/model.git', forge = 'gitlab'")
    later = api.add_commit(api.demo, "d" * 40)
    second, third = api.add_execution(later), api.add_execution(later)
    changed = json.dumps({**second.parameters, "alpha": 0.25})
    for execution in (second, third):
        sql = "UPDATE execution SET parameters = ?, image_digest = 'sha256:2' WHERE id = ?"
        execute(api.db, sql, (changed, execution.id))
    page = person.get(f"/p/demo/executions/{second.counter}/").text
    compared = f"https://gitlab.com/ada/model/-/compare/{first.commit_identifier}...{'d' * 40}"
    assert f'<a href="{compared}" rel="noreferrer">{first.commit_identifier[:8]} → dddddddd</a>' in page
    section = " ".join(re.sub(r"<[^>]+>", " ", page[page.index("What changed since") :]).split())
    assert " → 0.25" in section
    assert "loss 0.5 → \u2013" in section
    assert "image digest \u2013 → sha256:2" in section
    assert person.get(f"/p/demo/executions/{second.counter}/?since=99").status_code == 404
    assert "Nothing: commit, parameters, image" in person.get(f"/p/demo/executions/{third.counter}/").text
    other = person.get(f"/p/demo/executions/{third.counter}/?since={first.counter}").text
    assert f'What changed since <a href="/p/demo/executions/{first.counter}/">' in other


def test_all_values_of_several_keys_are_one_csv_file(api: ApiServer, person: Person) -> None:
    lines = (b'{"step": 1, "a,b": 0.5}', b'{"step": 2, "text": "x\\ny"}', b'{"step": 3, "a,b": NaN, "text": "=1+1"}')
    path = f"/p/demo/executions/{ran(api, *lines).counter}/series.csv"
    answer = person.get(f"{path}?key=step&key=a,b&key=step&key=none")
    assert (answer.mimetype, answer.headers["X-Content-Type-Options"]) == ("text/csv", "nosniff")
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=demo-")
    found = list(csv.reader(answer.text.splitlines()))
    assert found[0] == ["index", "time", "step", "a,b", "none"]
    assert [(row[0], *row[2:]) for row in found[1:]] == [
        ("0", "1", "0.5", ""),
        ("1", "2", "", ""),
        ("2", "3", "NaN", ""),
    ]
    assert [person.get(f"{path}?{query}").status_code for query in ("", "&".join(f"key={n}" for n in range(9)))] == [
        400,
        400,
    ]


def test_not_a_number_is_kept_out_of_the_chart_and_in_the_values(api: ApiServer, person: Person) -> None:
    execution = ran(api, b'{"loss": 1}', b'{"loss": NaN}', b'{"loss": 2}', b'{"loss": NaN}')
    path = f"/p/demo/executions/{execution.counter}/"
    assert json.loads(person.get(f"{path}series?key=loss").text)["y"] == [1, 2]
    assert '<td title="NaN">NaN</td>' in person.get(path).text


def test_an_output_is_downloaded_whole_or_in_ranges_and_never_shown(api: ApiServer, person: Person) -> None:
    execution, datum = ran(api), str(uuid.uuid4())
    assert api.upload(execution.uuid, "models/<b>.html", b"0123456789", datum).status_code == 200
    page = person.get(f"/p/demo/executions/{execution.counter}/").text
    link = re.findall(rf'href="([^"]+/outputs/{datum}/[^"]+)"', page)[0]
    assert link == f"/p/demo/executions/{execution.counter}/outputs/{datum}/_b_.html"
    whole = person.get(link)
    assert (whole.data, whole.headers["X-Content-Type-Options"]) == (b"0123456789", "nosniff")
    assert whole.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in whole.headers["Content-Security-Policy"]
    whole.close()
    part = person.get(link, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.data) == (206, b"234")
    part.close()
    other = api.add_execution()
    assert person.get(link.replace(f"/{execution.counter}/outputs", f"/{other.counter}/outputs")).status_code == 404


def test_stopping_asks_once_and_kills_the_second_time(api: ApiServer, person: Person) -> None:
    execution = ran(api)
    path = f"/p/demo/executions/{execution.counter}/"
    assert ">Stop</button>" in person.get(path).text
    assert person.post(f"{path}stop", path).location == path
    page = person.get(path).text
    assert ">Kill</button>" in page
    assert 'class="state stopping"' in page
    person.post(f"{path}stop", path)
    assert api.execution(execution.uuid).stop_count == 2


def test_a_waiting_execution_says_what_it_waits_for(api: ApiServer, person: Person) -> None:
    execution_uuid, _ = api.placed()
    sql = "UPDATE execution SET environment = 'a100', runner_id = NULL WHERE uuid = ?"
    execute(api.db, sql, (execution_uuid,))
    page = person.get(f"/p/demo/executions/{api.execution(execution_uuid).counter}/").text
    assert "There is no runner of environment a100" in page


def test_the_commit_page_says_why_nothing_ran(api: ApiServer, person: Person) -> None:
    repository = projects.list_repositories(api.db, api.demo.id)[0]
    with transaction(api.db):
        event = PushEvent(
            ref="refs/heads/main", before="0" * 40, after=api.commit.identifier, pusher="ada", identity="1"
        )
        push = pushes.add_push(api.db, NewPush(repository_id=repository.id, event=event))
        assert push is not None
        skipped = [("Train model", "input images needs a value")]
        pushes.finish_push(api.db, push, PushOutcome(commit_id=api.commit.id, text="nothing runs", skipped=skipped))
    page = person.get(f"/p/demo/commits/{api.commit.identifier}/").text
    assert "input images needs a value" in page
    assert "No runs for this commit." in page


def test_the_commit_page_shows_the_last_lines_and_values_of_each_execution(api: ApiServer, person: Person) -> None:
    ran(api, *(b"line %d" % i for i in range(30)), b'{"accuracy": 0.75}')
    page = person.get(f"/p/demo/commits/{api.commit.identifier}/").text
    assert "line 21" in page
    assert "line 20" not in page
    assert '<dt>accuracy</dt><dd title="0.75">0.75</dd>' in page


def test_the_table_shows_the_parameters_that_differ(api: ApiServer, person: Person) -> None:
    first, _ = api.add_execution(), api.add_execution()
    changed = json.dumps({**first.parameters, "alpha": 0.25})
    execute(api.db, "UPDATE execution SET parameters = ? WHERE id = ?", (changed, first.id))
    page = person.get("/p/demo/").text
    assert "Parameter alpha" in page
    assert "Parameter steps" not in page


def test_a_name_that_a_template_does_not_know_is_an_error(api: ApiServer) -> None:
    with api.app.test_request_context(), pytest.raises(UndefinedError):
        render_template_string("{{ nobody_passed_this }}")
