"""The groups `pushmill project` and `pushmill hook`, for administrators on the server's machine."""

from __future__ import annotations

import click

from web.cli.lazy_commands import LazyCommands, Table

PROJECT: Table = {
    "add": ("web.cli.project_add:add", "Add a project and print its webhook."),
    "list": ("web.cli.repository:show_all", "List projects."),
    "show": ("web.cli.repository:show", "Show a project with its webhook's URL and secret."),
    "check": ("web.cli.check:check", "Check everything that project NAME needs."),
    "approve": ("web.cli.approvals:approve", "Allow commit SHA of a fork to run."),
    "rules": ("web.cli.rules:rules", "Print or replace the rules of a project."),
    "trigger": ("web.cli.trigger:trigger", "Show what REF would trigger, and why."),
    "variable": ("web.cli.variables:variable", "Set, list and remove variables and secrets."),
    "environments": ("web.cli.environments_of_project:environments", "Show or set the environments of project NAME."),
    "members": ("web.cli.members:group", "List, add and remove members of a project."),
    "comments": ("web.cli.comments:comments", "Comment on pull requests, or stop."),
    "set-url": ("web.cli.repository:set_url", "Fetch project NAME from another URL."),
    "set-secret": ("web.cli.repository:set_secret", "Store the webhook secret that the forge created."),
    "deploy-key": ("web.cli.repository:deploy_key", "Show or replace the deploy key of project NAME."),
    "set-token": ("web.cli.forge:set_token", "Store an API token of the forge for project NAME."),
    "webhook": ("web.cli.forge:webhook", "Create the webhook on the forge."),
    "remove": ("web.cli.removal:remove", "Remove project NAME and all of its data."),
}
HOOK: Table = {"install": ("web.cli.hook:install", "Install the post-receive hook in BARE_REPO.")}


@click.group("project", cls=LazyCommands, table=PROJECT)
def project() -> None:
    """Add, list, configure, check and remove projects."""


@click.group("hook", cls=LazyCommands, table=HOOK)
def hook() -> None:
    """Install the post-receive hook."""
