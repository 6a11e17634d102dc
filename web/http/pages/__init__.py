"""The HTML pages. Any value may come from outside: templates escape values and make invisible characters visible."""

from __future__ import annotations

from flask import Flask

from web.http import changes
from web.http.pages import (
    account,
    activity,
    api_reference,
    appearance,
    audit,
    badge_picker,
    chosen,
    commits,
    compare,
    connect,
    deliveries,
    documentation,
    environments,
    execution,
    execution_data,
    execution_outputs,
    execution_tabs,
    executions,
    export,
    forms,
    invitations,
    logins,
    members,
    notifications,
    pipelines,
    projects,
    rules,
    run,
    runners,
    saved_views,
    session,
    settings,
    tasks,
    templating,
    users,
)

PAGES = (
    account, activity, api_reference, appearance, audit, badge_picker, chosen, commits, compare, connect,
    deliveries, documentation, environments, execution, execution_data, execution_outputs, execution_tabs,
    executions, export, invitations, logins, members, notifications, pipelines, projects, rules, run, runners,
    saved_views, session, settings, tasks, users,
)  # fmt: skip

for page in PAGES:
    page.blueprint.before_request(changes.choose_stream)
    page.blueprint.after_request(forms.lead_back)


def register(app: Flask) -> None:
    for page in PAGES:
        app.register_blueprint(page.blueprint)
    session.init_app(app)
    templating.init_app(app)
