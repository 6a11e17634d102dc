"""Logins by other servers: OpenID Connect (GitLab, Gitea, Google, Keycloak …), and GitHub by OAuth.

`providers` verifies a person's identity with the provider; `accounts` finds or creates the user.
"""
