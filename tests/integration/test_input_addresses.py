from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_server import DataServer, Fetching, served, spec
from namespaces import namespace

DATA = b"a,b\n1,2\n" * 100


@pytest.fixture
def server() -> Iterator[DataServer]:
    with served() as running:
        yield running


@pytest.fixture
def fetch(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path)


def test_loopback_is_refused_by_every_name(server: DataServer, fetch: Fetching) -> None:
    fetch.allow_hosts = ()
    port = server.server_port
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"):
        message = fetch.failure(f"http://{host}:{port}/a")
        assert "which inputs may not be fetched from; [runner] allow_input_hosts" in message
    assert "metadata" in fetch.failure("http://100.100.100.200/latest/meta-data/")
    assert "link-local" in fetch.failure("http://169.254.169.254/latest/meta-data/")
    assert server.requests == []


def test_a_redirect_is_checked_again(server: DataServer, fetch: Fetching) -> None:
    server.routes["/a"] = lambda h: h.answer(302, Location=f"http://localhost:{server.server_port}/secret")
    server.routes["/b"] = lambda h: h.answer(307, Location="file:///etc/passwd")
    server.routes["/c"] = lambda h: h.answer(301, Location=h.path)
    server.routes["/d"] = lambda h: h.answer(301)
    server.routes["/secret"] = lambda h: h.answer(200, b"secret")
    fetch.allow_hosts = ("first.test",)
    with resolving({"first.test": "127.0.0.1", "localhost": "127.0.0.2"}):
        message = fetch.failure(f"http://first.test:{server.server_port}/a")
        assert "localhost" in message
        assert "127.0.0.2, a loopback address" in message
        assert "only http:// and https:// can" in fetch.failure(f"http://first.test:{server.server_port}/b")
        assert "more than 5 redirects" in fetch.failure(f"http://first.test:{server.server_port}/c")
        assert "redirects to nowhere" in fetch.failure(f"http://first.test:{server.server_port}/d")
    assert server.paths() == ["/a", "/b", *["/c"] * 6, "/d"]


def test_a_name_that_also_has_a_forbidden_address_is_refused(server: DataServer, fetch: Fetching) -> None:
    fetch.allow_hosts = ()
    with resolving({"both.test": "93.184.216.34 127.0.0.1"}):
        assert "127.0.0.1, a loopback address" in fetch.failure(f"http://both.test:{server.server_port}/a")
    assert server.requests == []


def test_redirects_are_followed_but_credentials_stay(server: DataServer, fetch: Fetching) -> None:
    other = f"http://localhost:{server.server_port}"
    server.routes["/same"] = lambda h: h.answer(302, Location="/end")
    server.routes["/other"] = lambda h: h.answer(302, Location=f"{other}/end")
    server.routes["/end"] = lambda h: h.answer(200, DATA)
    fetch.allow_hosts = ("127.0.0.1", "localhost")
    place = server.url.removeprefix("http://")
    [data] = fetch(spec(f"http://ada:pass@{place}/same", f"http://ada:pass@{place}/other"))
    assert [file.name for file in data.files] == ["same", "other"]
    seen = [(path, headers["Host"].partition(":")[0], "Authorization" in headers) for path, headers in server.requests]
    assert seen == [
        ("/same", "127.0.0.1", True),
        ("/end", "127.0.0.1", True),
        ("/other", "127.0.0.1", True),
        ("/end", "localhost", False),
    ]


def test_the_address_that_was_checked_is_the_one_connected_to(server: DataServer, fetch: Fetching) -> None:
    server.routes["/a"] = lambda h: h.answer(200, DATA)
    fetch.allow_hosts = ("127.0.0.1",)
    with resolving({"rebinding.test": "127.0.0.1"}, then="169.254.169.254"):  # a second look-up answers otherwise
        fetch(spec(f"http://rebinding.test:{server.server_port}/a"))
    assert server.requests[0][1]["Host"] == f"rebinding.test:{server.server_port}"


def test_proxies_of_the_environment_play_no_part(
    server: DataServer, fetch: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.routes["/a"] = lambda h: h.answer(200, DATA)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    fetch(spec(f"{server.url}/a"))


def test_tls_is_verified_against_the_name(server: DataServer, fetch: Fetching, tmp_path: Path) -> None:
    certificate(tmp_path, "data.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "data.test.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.routes["/a"] = lambda h: h.answer(200, DATA)
    with resolving({"data.test": "127.0.0.1", "other.test": "127.0.0.1"}):
        message = fetch.failure(f"https://data.test:{server.server_port}/a")
        assert "cannot be trusted: " in message
        with trusting(tmp_path / "data.test.pem"):
            with resolving({"data.test": "127.0.0.1"}, then="169.254.169.254"):
                fetch(spec(f"https://data.test:{server.server_port}/a"))
            message = fetch.failure(f"https://other.test:{server.server_port}/a")
            assert "cannot be trusted: " in message


def certificate(directory: Path, name: str) -> None:
    made = directory / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "2"]
    subprocess.run([*command, "-keyout", str(made), "-out", str(directory / "crt")], capture_output=True, check=True)
    made.write_bytes(made.read_bytes() + (directory / "crt").read_bytes())


@contextlib.contextmanager
def trusting(file: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@contextlib.contextmanager
def resolving(hosts: dict[str, str], then: str | None = None) -> Iterator[None]:
    """The machine's resolver knows these names (addresses separated by blanks); `then` is what it says later."""
    real, asked = socket.getaddrinfo, set[str]()

    def getaddrinfo(host: str, port: int, *rest: Any, **named: Any) -> Any:
        if host not in hosts:
            return real(host, port, *rest, **named)
        found = then if then and host in asked else hosts[host]
        asked.add(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found.split()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


OWN = """
import sys
from pathlib import Path
from data_server import Fetching
fetch = Fetching(Path(sys.argv[1]))
fetch.allow_hosts = ("10.99.0.9",)
for address in sys.argv[2:]:
    print(fetch.failure(f"http://{address}:1/a"))
"""


@pytest.mark.root
def test_addresses_of_the_machines_interfaces_are_refused(tmp_path: Path) -> None:
    """Secondary addresses, IPv6, and networks that are the machine's own by a route, as in a namespace of the test's own."""
    with namespace() as machine:
        machine.ip("link", "add", "lan", "type", "bridge")
        for address in ("10.99.0.1/24", "10.99.0.2/24", "10.99.0.9/24", "fd99::1/64"):
            machine.ip("address", "add", address, "dev", "lan", *(["nodad"] if ":" in address else []))
        machine.ip("link", "set", "lan", "up")
        machine.ip("route", "add", "local", "10.98.0.0/16", "dev", "lo")
        own = ("10.99.0.1", "10.99.0.2", "[fd99::1]", "[::ffff:10.99.0.1]", "10.98.7.6")
        environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [*machine.prefix, sys.executable, "-c", OWN, str(tmp_path), *own, "10.99.0.9", "10.97.0.1"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment).stdout
    *refused, allowed, elsewhere = said.splitlines()
    assert len(refused) == len(own)
    assert all(", an address of this machine, which inputs may not be fetched from" in line for line in refused)
    assert "cannot be reached" in allowed
    assert "cannot be reached" in elsewhere
