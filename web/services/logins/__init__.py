"""Logins by other servers: OpenID Connect (GitLab, Gitea, Google, Keycloak …), and GitHub by OAuth.

`providers` talks to the provider and verifies who somebody is; `accounts` finds or creates the user for it.
"""
