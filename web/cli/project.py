"""The groups `pushmill project` and `pushmill hook`, for administrators on the server's machine."""

from __future__ import annotations

import click

from web.cli.lazy_commands import LazyCommands, Table

PROJECT: Table = {
    "add": ("web.cli.project_add:add", "Add a project; print its webhook's URL and secret."),
    "list": ("web.cli.repository:show_all", "List the projects."),
    "show": ("web.cli.repository:show", "Show a project with its webhook's URL and secret."),
    "check": ("web.cli.check:check", "Check everything between a push and its runs."),
    "approve": ("web.cli.approvals:approve", "Let a fork's commit run, or list what waits."),
    "rules": ("web.cli.rules:rules", "Print or replace the rules."),
    "trigger": ("web.cli.trigger:trigger", "Show what a commit, branch or tag would trigger."),
    "variable": ("web.cli.variables:variable", "Set, list and remove variables and secrets."),
    "environments": ("web.cli.environments_of_project:environments", "Show or set the environments of a project."),
    "comments": ("web.cli.comments:comments", "Comment on pull requests, or do not."),
    "set-url": ("web.cli.repository:set_url", "Fetch a project from another URL."),
    "set-secret": ("web.cli.repository:set_secret", "Store the webhook secret that the forge made."),
    "deploy-key": ("web.cli.repository:deploy_key", "Show or replace the deploy key."),
    "set-token": ("web.cli.forge:set_token", "Store an API token of the forge."),
    "webhook": ("web.cli.forge:webhook", "Create the webhook on the forge."),
    "remove": ("web.cli.removal:remove", "Remove a project and everything of it."),
}
HOOK: Table = {"install": ("web.cli.hook:install", "Install the post-receive hook.")}


@click.group("project", cls=LazyCommands, table=PROJECT)
def project() -> None:
    """Add, list and show projects."""


@click.group("hook", cls=LazyCommands, table=HOOK)
def hook() -> None:
    """Install the post-receive hook."""
