"""The routes of `/api/v0`, the HTTP API of the `vh` command line client. A trailing slash is optional."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response

from web.http import auth
from web.http.api import (
    aliases,
    commits,
    data,
    environments,
    events,
    executions,
    launching,
    openapi,
    packages,
    pipelines,
    projects,
    repositories,
    tasks,
    users,
    variables,
)
from web.http.api.answers import Json, Page, make_page
from web.http.api.parameters import PAGE, read_page, takes

View = Callable[..., Response]


@auth.read
@takes(*PAGE)
def none_yet() -> Json[Page[None]]:
    """Return an empty list: this server has no such objects."""
    return make_page([], 0, read_page())


READ: tuple[tuple[str, View], ...] = (
    ("users/me", users.me),
    ("projects", projects.listing),
    ("projects/ownership_options", projects.ownership_options),
    ("projects/<identifier>", projects.detail),
    ("projects/<identifier>/commits", projects.listing_of_commits),
    ("projects/<project>/commits/<identifier>", commits.detail_in_project),
    ("commits", commits.listing),
    ("commits/<identifier>", commits.detail),
    ("repositories", repositories.listing),
    ("repositories/<identifier>", repositories.detail),
    ("environments", environments.listing),
    ("environments/<identifier>", environments.detail),
    ("executions", executions.listing),
    ("executions/<identifier>", executions.detail),
    ("executions/<identifier>/events", events.events),
    ("executions/<identifier>/status-events", events.status_events),
    ("executions/<identifier>/metadata", events.points),
    ("tasks", tasks.listing),
    ("tasks/<identifier>", tasks.detail),
    ("pipelines", pipelines.listing),
    ("pipelines/<identifier>", pipelines.detail),
    ("data", data.listing),
    ("data/<identifier>", data.detail),
    ("data/<identifier>/download", data.download),
    ("datum-aliases", aliases.listing),
    ("datum-aliases/resolve", aliases.resolve),
)
CHANGE: tuple[tuple[str, View], ...] = (
    ("get-token", users.get_token),
    ("projects", projects.create),
    ("projects/<identifier>/fetch", projects.fetch),
    ("projects/<identifier>/import-package", packages.import_package),
    ("projects/<identifier>/environment_variable", variables.set_one),
    ("executions", launching.create_execution),
    ("executions/<identifier>/stop", executions.stop),
    ("executions/<identifier>/tags", executions.set_tags),
    ("tasks", launching.create_task),
    ("tasks/<identifier>/stop", tasks.stop),
    ("pipelines", launching.create_pipeline),
    ("pipelines/<identifier>/stop", pipelines.stop),
    ("pipelines/<identifier>//stop", pipelines.stop),  # as `vh` sends it
    ("data", data.upload),
    ("data/<identifier>/purge", data.purge),
    ("datum-aliases", aliases.create),
)
REMOVE: tuple[tuple[str, View], ...] = (
    ("projects/<identifier>", projects.remove),
    ("executions/<identifier>", executions.remove),
    ("projects/<identifier>/environment_variable", variables.remove),
)
NOT_HERE = ("models", "deployments")


def _blueprint() -> Blueprint:
    made = Blueprint("v0", __name__, url_prefix="/api/v0")
    lists = tuple((noun, none_yet) for noun in NOT_HERE)
    for method, routes in (("GET", READ + lists), ("POST", CHANGE), ("DELETE", REMOVE)):
        for path, view in routes:
            endpoint = f"{method} {path}".replace(".", "_")
            # double slashes are redirected to single ones, except in a path that contains one
            merged = "//" not in path
            made.add_url_rule(f"/{path}/", endpoint, view, methods=[method], strict_slashes=False, merge_slashes=merged)
    made.add_url_rule("/openapi.json", "openapi", openapi.openapi)
    return made


blueprint = _blueprint()
