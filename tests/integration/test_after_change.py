"""Every request that changes something wakes live pages, dispatches executions and nudges the worker."""

from __future__ import annotations

from typing import Any

import pytest
from api_server import ApiServer
from instance import wait_for
from redis_site import RedisSite

FOLLOWED = {"claim", "container", "detail", "log", "preview", "put_output"}
UNSEEN = {"heartbeat", "extend", "add_usage"}


def listen(api: ApiServer) -> list[str | None]:
    woken: list[str | None] = []
    api.app.extensions["pushmill"].announcer.subscribe(woken.append)
    return woken


def test_only_frequent_reports_of_runners_are_announced_in_part(api: ApiServer) -> None:
    found = {name: view.wakes for name, view in api.app.view_functions.items() if hasattr(view, "wakes")}
    assert found == {f"runner_api.{name}": name in FOLLOWED for name in FOLLOWED | UNSEEN}


@pytest.mark.parametrize(("path", "form"), [
    ("/api/v0/projects/demo/environment_variable/", {"name": "A", "value": "1"}),
    ("/connect/", {"url": "https://github.com/ada/model.git"}),
    ("/p/demo/settings/variables", {"variable": "A", "value": "1"}),
    ("/p/demo/settings/rules", {"rules": "# none"}),
    ("/p/demo/settings/runs", {"environment": "default", "max_executions": "3"}),
    ("/p/demo/settings/environments", {"environments": "default"}),
    ("/p/demo/settings/badge", {}),
    ("/p/demo/settings/notifications/comments", {"comments": "1"}),
    ("/environments/", {"slug": "other"}),
    ("/runners/one/drain", {}),
    ("/p/demo/executions/1/priority", {"priority": "1"}),
    ("/p/demo/executions/1/stop", {}),
    ("/p/demo/tasks/1/stop", {}),
    ("/p/demo/pipelines/1/stop", {}),
])  # fmt: skip
def test_a_change_by_a_user_is_announced(api: ApiServer, path: str, form: dict[str, Any]) -> None:
    api.placed()
    api.add_task()
    api.add_pipeline(("a", "execution"))
    woken = listen(api)
    for page in ("/p/demo/settings/", "/p/demo/executions/1/", "/runners/"):
        assert api.client.get(page, headers=api.as_admin).status_code == 200
    assert not woken
    body = {"json": form} if path.startswith("/api/") else {"data": form}
    answer = api.client.post(path, headers=api.as_admin, **body)
    assert answer.status_code in (200, 201, 303), answer.text
    assert woken == [None]


def test_capacity_that_a_user_frees_is_used_at_once(api: ApiServer) -> None:
    form = {"slug": "default", "max_executions": "1"}
    assert api.client.post("/environments/", data=form, headers=api.as_admin).status_code == 303
    api.placed()
    waiting, _ = api.placed()
    assert api.execution(waiting).state == "created"
    woken = listen(api)
    assert (
        api.client.post("/environments/", data=form | {"max_executions": "2"}, headers=api.as_admin).status_code == 303
    )
    assert api.execution(waiting).runner_id is not None
    assert woken == [None, waiting]


def test_the_end_of_an_execution_wakes_it_and_the_next_one_only(api: ApiServer) -> None:
    form = {"slug": "default", "max_executions": "1"}
    assert api.client.post("/environments/", data=form, headers=api.as_admin).status_code == 303
    running, attempt = api.started()
    following, _ = api.placed()
    woken = listen(api)
    assert api.call(f"executions/{running}/final", {"attempt": attempt, "state": "complete"}).status_code == 200
    assert woken == [running, following]


@pytest.mark.redis
def test_a_change_by_a_user_nudges_the_worker(site: RedisSite) -> None:
    api = site.api
    path = "/p/demo/settings/rules"
    assert api.client.post(path, data={"rules": "# none"}, headers=api.as_admin).status_code == 303
    wait_for(lambda: site.admin.exists("pushmill:nudged"))
