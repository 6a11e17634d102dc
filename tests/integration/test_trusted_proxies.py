"""X-Forwarded headers count only from trusted proxies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from flask import request

from core.config import ServerConfig
from core.errors import ConfigError
from web.http import auth

FORWARDED = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}


def seen(data: Path, peer: str, forwarded_for: str = "192.0.2.7", **server: Any) -> tuple[str | None, str]:
    """The client's address and the URL, as the application sees them."""
    api = ApiServer(data, server=server)
    api.app.add_url_rule("/seen", "seen", auth.public(lambda: [request.remote_addr, request.url_root]))
    headers = FORWARDED | {"X-Forwarded-For": forwarded_for}
    try:
        address, url = api.client.get("/seen", headers=headers, environ_base={"REMOTE_ADDR": peer}).get_json()
        return address, url
    finally:
        api.close()


def test_a_url_alone_makes_nobody_trusted(tmp_path: Path) -> None:
    found = seen(tmp_path, "127.0.0.1", url="https://pushmill.example.org")
    assert found == ("127.0.0.1", "http://localhost/")


@pytest.mark.parametrize("proxies", [["10.0.0.0/8"], ["192.0.2.1", "2001:db8::/32"]])
def test_other_peers_are_not_believed(tmp_path: Path, proxies: list[str]) -> None:
    assert seen(tmp_path, "127.0.0.1", trusted_proxies=proxies) == ("127.0.0.1", "http://localhost/")


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_trusted_proxy_is_believed(tmp_path: Path, peer: str) -> None:
    assert seen(tmp_path, peer, trusted_proxies=["10.0.0.0/8"]) == ("192.0.2.7", "https://evil.example/")


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),  # the client wrote the first
        ("203.0.113.9, 192.0.2.7, 10.0.0.2", "192.0.2.7"),  # two proxies
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(
    tmp_path: Path, forwarded_for: str, client: str
) -> None:
    assert seen(tmp_path, "10.0.0.1", forwarded_for, trusted_proxies=["10.0.0.0/8"])[0] == client


def test_what_is_no_network_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"\[server\] trusted_proxies: 'proxy.local' .* it is a list such as"):
        _ = ServerConfig(trusted_proxies=("proxy.local",)).proxy_networks
