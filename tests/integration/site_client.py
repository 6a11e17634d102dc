"""A user of the pages, logged in with a cookie like a browser."""

from __future__ import annotations

import re
from typing import Any

from api_server import ApiServer
from werkzeug.test import TestResponse

CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


class Person:
    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.client = api.app.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def csrf(self, path: str = "/login") -> str:
        found = CSRF.search(self.get(path).text)
        assert found is not None
        return found[1]

    def post(self, path: str, token_from: str, **form: str) -> TestResponse:
        return self.client.post(path, data={"csrf_token": self.csrf(token_from), **form})

    def log_in(self, username: str = "admin", token: str = "", **form: str) -> TestResponse:
        return self.post("/login", "/login", username=username, token=token or self.api.token, **form)
