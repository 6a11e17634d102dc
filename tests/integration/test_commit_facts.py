"""The facts that the page of a commit reads from its repository, and from executions of its parent."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from api_server import ApiServer
from grouped_project import YAML as GROUPS
from grouped_project import Grouped
from made_repository import MadeRepository
from site_client import Person

from web.services.presentation import commit_facts
from web.services.repositories import hosting
from web.store import projects

BROKEN = "- step:\n    name: a\n    image: b\n    comand: c\n"


def made(api: ApiServer) -> MadeRepository:
    (repository,) = projects.list_repositories(api.db, api.demo.id)
    return MadeRepository(hosting.get_repository_path(api.config, repository))


def ran(api: ApiServer, sha: str, accuracy: float) -> int:
    uuid, _ = api.started(commit=api.add_commit(api.demo, sha))
    api.log(uuid, b'{"accuracy": %.2f}\n' % accuracy, 0)
    assert api.call(f"executions/{uuid}/final", {"attempt": 1, "state": "complete"}).status_code == 200
    return api.execution(uuid).counter


def test_metrics_stand_beside_those_of_the_parent(api: ApiServer) -> None:
    there = made(api)
    parent = there.commit({"a": b"1\n"})
    child = there.commit({"a": b"2\n3\n"}, parent)
    before = ran(api, parent, 0.75)
    ran(api, child, 0.85)
    person = Person(api)
    person.log_in()
    page = person.get(f"/p/demo/commits/{child}/").text
    change = page.split('<dd class="change better">')[1].split("</dd>")[0]
    assert f'href="/p/demo/executions/{before}/"' in change
    assert ">+0.1<" in change
    assert '1 file changed, <span class="added">+2</span> <span class="removed">\u22121</span>' in page
    assert 'class="change' not in person.get(f"/p/demo/commits/{parent}/").text


def test_what_is_wrong_stands_in_the_file(api: ApiServer) -> None:
    sha = made(api).commit({"valohai.yaml": BROKEN.encode()})
    said = "line 4: unknown key 'comand', did you mean 'command'?"
    api.add_commit(api.demo, sha, config_state="broken", config=None, problems=(said, "about all"))
    person = Person(api)
    person.log_in()
    page = person.get(f"/p/demo/commits/{sha}/").text
    line = page.split('<li value="4">')[1].split("</li>")[0]
    assert "comand: c" in line
    assert "did you mean" in line
    assert "<li>about all</li>" in page


@pytest.mark.parametrize(
    ("forge", "url", "page"),
    [
        ("github", "git@github.com:ada/model.git", "https://github.com/ada/model/commit/"),
        ("gitlab", "https://ada:word@git.example.org/team/model.git", "https://git.example.org/team/model/-/commit/"),
        ("bitbucket", "https://bitbucket.org/ada/model.git", "https://bitbucket.org/ada/model/commits/"),
        ("plain", "https://git.example.org/model.git", ""),
        ("github", "javascript:alert(1)", ""),
        ("github", None, ""),
    ],
)
def test_a_commit_leads_to_its_page_on_the_git_host(api: ApiServer, forge: str, url: str | None, page: str) -> None:
    (repository,) = projects.list_repositories(api.db, api.demo.id)
    facts = commit_facts.collect_facts(api.context, replace(repository, forge=forge, url=url), api.commit)
    assert facts.page == (page and page + api.commit.sha)
    assert (facts.parent, facts.diff, facts.source) == ("", None, None)


def test_the_card_of_a_step_has_its_newest_run_and_the_metric_of_the_newest_that_has_one(api: ApiServer) -> None:
    sha = made(api).commit({"a": b"1\n"})
    with_metric = ran(api, sha, 0.75)
    uuid, _ = api.started(commit=api.add_commit(api.demo, sha))
    person = Person(api)
    person.log_in()
    card = person.get(f"/p/demo/commits/{sha}/").text.split('<article class="target"')[1].split("</article>")[0]
    newest = api.execution(uuid).counter
    assert f'<p class="run-of"><a href="/p/demo/executions/{newest}/">#{newest}</a>' in card
    assert '<dd title="0.75">0.75</dd>' in card
    assert f'<dd class="of"><a href="/p/demo/executions/{with_metric}/">' in card
    assert card.count('class="dot complete"') == 1


def test_the_best_of_a_task_stands_beside_that_of_the_parent(api: ApiServer) -> None:
    there = made(api)
    parent = there.commit({"a": b"1\n"})
    child = there.commit({"a": b"2\n"}, parent)
    site = Grouped(api)
    for sha, loss in ((parent, 0.5), (child, 0.75)):
        site.commit = api.add_commit(api.demo, sha, GROUPS)
        best = site.trial(site.task(), 0, {"loss": loss}, rate=0.1)
        if sha == parent:
            before = best
    card = site.page(f"commits/{child}/").split('id="task-search"')[1].split("</article>")[0]
    assert "best loss" in card
    assert f'<dd class="change worse"><a href="/p/demo/executions/{before.counter}/"' in card
    assert ">+0.25<" in card


def test_what_changed_lists_the_commits_between_and_what_they_changed(api: ApiServer) -> None:
    there = made(api)
    first = there.commit({"a": b"1\n"})
    second = there.commit({"a": b"2\n"}, first)
    third = there.commit({"a": b"2\n", "b": b"3\n"}, second)
    before, after = ran(api, first, 0.5), ran(api, third, 0.75)
    person = Person(api)
    person.log_in()
    for path in (f"executions/{after}/", f"compare/?e={before}&e={after}"):
        page = person.get(f"/p/demo/{path}").text
        code = page.split('class="code-changes"')[1].split("</div>")[0]
        assert "2 commits, <span>2 files changed" in code, path
        assert re.findall(r'class="sha">(\w+)<', code) == [third[:8], second[:8]], path
    same = ran(api, third, 0.75)
    assert "code-changes" not in person.get(f"/p/demo/executions/{same}/").text
