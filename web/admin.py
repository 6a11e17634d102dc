"""`pushmill project` and `pushmill hook`: what an administrator does on the server's machine."""

from __future__ import annotations

import click

from web.commands import LazyCommands, Table

PROJECT: Table = {
    "add": ("web.project_admin:add", "Add a project; print its webhook's URL and secret."),
    "list": ("web.repository_admin:show_all", "List the projects."),
    "show": ("web.repository_admin:show", "Show a project with its webhook's URL and secret."),
    "check": ("web.project_check:check", "Check everything between a push and its runs."),
    "approve": ("web.approval_admin:approve", "Let a fork's commit run, or list what waits."),
    "rules": ("web.rules_admin:rules", "Print or replace the rules."),
    "trigger": ("web.trigger_admin:trigger", "Show what a commit, branch or tag would trigger."),
    "variable": ("web.variable_admin:variable", "Set, list and remove variables and secrets."),
    "environments": ("web.environment_use_admin:environments", "Show or set the environments of a project."),
    "comments": ("web.comment_admin:comments", "Comment on pull requests, or do not."),
    "set-url": ("web.repository_admin:set_url", "Fetch a project from another URL."),
    "set-secret": ("web.repository_admin:set_secret", "Store the webhook secret that the forge made."),
    "deploy-key": ("web.repository_admin:deploy_key", "Show or replace the deploy key."),
    "set-token": ("web.forge_admin:set_token", "Store an API token of the forge."),
    "webhook": ("web.forge_admin:webhook", "Create the webhook on the forge."),
    "remove": ("web.removal_admin:remove", "Remove a project and everything of it."),
}
HOOK: Table = {"install": ("web.hook_admin:install", "Install the post-receive hook.")}


@click.group("project", cls=LazyCommands, table=PROJECT)
def project() -> None:
    """Add, list and show projects."""


@click.group("hook", cls=LazyCommands, table=HOOK)
def hook() -> None:
    """Install the hook that tells of pushes to a bare repository."""
