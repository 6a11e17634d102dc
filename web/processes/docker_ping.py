"""Find the Docker engine, with the standard library only: only the runner has the `docker` package."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from core.errors import CannotStart, NotFound

BRIDGE = "com.docker.network.bridge.name"  # the network option with the name of its interface
DEFAULT_HOST = "unix:///var/run/docker.sock"


@dataclass(frozen=True, kw_only=True)
class DockerEngine:
    """What an engine reports about itself. `runc` is the version of its container runtime, "" if it is not reported.

    `info` is the response of `/info`.
    """

    socket: str
    version: str
    api_version: str
    runc: str = ""

    def info(self, timeout: float = 10.0) -> dict[str, Any]:
        return _get(self.socket, "/info", timeout)

    def bridge(self, network: str, timeout: float = 10.0) -> str:
        """Return the interface of a bridge network, "" if the network does not exist."""
        try:
            found = _get(self.socket, f"/networks/{quote(network, safe='')}", timeout)
        except NotFound:
            return ""
        return str((found.get("Options") or {}).get(BRIDGE) or f"br-{str(found.get('Id'))[:12]}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def find(environ: Mapping[str, str], timeout: float = 5.0) -> DockerEngine:
    """Return the engine at `DOCKER_HOST`, else at the usual socket. Raises CannotStart if it does not answer."""
    host = environ.get("DOCKER_HOST") or DEFAULT_HOST
    if not host.startswith("unix://"):
        raise CannotStart(
            f"DOCKER_HOST is {host}, but the runner needs the Docker engine of this machine: "
            "unset DOCKER_HOST, or set it to unix:///path/to/docker.sock"
        )
    path = host.removeprefix("unix://")
    version = _get(path, "/version", timeout)
    parts = {str(part.get("Name")): str(part.get("Version")) for part in version.get("Components") or ()}
    return DockerEngine(
        socket=path,
        version=str(version.get("Version")),
        api_version=str(version.get("ApiVersion")),
        runc=parts.get("runc", ""),
    )


def ping(engine: DockerEngine, timeout: float = 5.0) -> None:
    """Raise CannotStart unless the engine answers."""
    _request(engine.socket, "/_ping", timeout)


def _get(path: str, target: str, timeout: float) -> dict[str, Any]:
    try:
        answer = json.loads(_request(path, target, timeout))
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CannotStart(f"{path} answers, but not as a Docker engine does: check what listens there, and DOCKER_HOST")
    return answer


def _request(path: str, target: str, timeout: float) -> bytes:
    connection = _UnixConnection(path, timeout)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read()
    except FileNotFoundError:
        raise CannotStart(
            f"there is no Docker engine at {path}: install Docker and start it "
            "(on Debian and Ubuntu `make up` does both), or set DOCKER_HOST"
        ) from None
    except PermissionError:
        raise CannotStart(
            f"no permission for the Docker engine at {path}: run as root, "
            "or add the user to the group docker (`sudo usermod -aG docker $USER`) and log in again"
        ) from None
    except TimeoutError:
        raise CannotStart(
            f"the Docker engine at {path} does not answer within {timeout:g} s: "
            "restart it (`sudo systemctl restart docker`) and try again"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise CannotStart(
            f"the Docker engine at {path} does not answer ({error}): "
            "start it (`sudo systemctl start docker`, or `make up`) and try again"
        ) from None
    finally:
        connection.close()
    if response.status == http.HTTPStatus.NOT_FOUND:
        raise NotFound(f"the Docker engine at {path} has no {target}")
    if response.status != http.HTTPStatus.OK:
        raise CannotStart(
            f"the Docker engine at {path} answers {response.status} to {target}: restart it and try again"
        )
    return body
