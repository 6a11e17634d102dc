"""The HTML pages. Any value may come from outside: templates escape values and make invisible characters visible."""

from __future__ import annotations

from flask import Flask

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
    invitations,
    logins,
    members,
    pipelines,
    projects,
    reports,
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


def register(app: Flask) -> None:
    for page in (
        account, activity, api_reference, appearance, audit, badge_picker, chosen, commits, compare, connect,
        deliveries, documentation, environments, execution, execution_data, execution_outputs, execution_tabs, executions, export,
        pipelines,
        projects, reports, rules, run, runners, saved_views, session, settings, tasks,
        invitations, logins, members, users,
    ):  # fmt: skip
        app.register_blueprint(page.blueprint)
    session.init_app(app)
    templating.init_app(app)
