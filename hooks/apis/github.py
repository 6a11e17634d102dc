"""GitHub's REST API: https://docs.github.com/en/rest"""

from __future__ import annotations

from collections.abc import Mapping

from hooks.apis.base import Api, Json

PUBLIC_API = "https://api.github.com"
HOSTS = ("https://github.com", "https://www.github.com", "https://ssh.github.com")


class GitHubApi(Api):
    ROOT = "/api/v3"
    RIGHTS = "Contents: read, and Commit statuses, Pull requests and Webhooks: read and write (a classic one: repo)"
    DESCRIPTION_CHARS = 140  # a longer one is rejected with 422
    EVENTS: Mapping[str, str] = {"push": "Pushes", "pull_request": "Pull requests"}  # a push of a tag is a push
    TEST = "pings"

    def api_url(self, origin: str) -> str:
        return PUBLIC_API if origin in HOSTS else super().api_url(origin)

    def issuer(self, url: str) -> str:
        return HOSTS[0] if url == PUBLIC_API else super().issuer(url)

    def git_login(self, token: str) -> tuple[str, str]:
        return "x-access-token", token

    def headers(self, token: str) -> Mapping[str, str]:
        accepted = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        return {**super().headers(token), **accepted}

    def webhook_body(self, url: str, secret: str) -> Json:
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        return {"name": "web", "active": True, "events": list(self.EVENTS), "config": config}
