"""Apply the forwarding headers of trusted reverse proxies only."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

from core.config import Network

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"


def is_one_of(address: str, networks: Sequence[Network]) -> bool:
    """Return whether an IP address is in one of the networks; False if it is not an IP address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:  # an IPv4 peer of a socket that listens on "::"
        found = found.ipv4_mapped
    return any(found in network for network in networks)


class TrustedProxies:
    """Applies X-Forwarded-For, -Proto and -Host to requests whose peer is a trusted proxy, and to no others."""

    def __init__(self, app: WSGIApplication, networks: Sequence[Network]) -> None:
        self._app, self._networks = app, networks
        self._forwarded = ProxyFix(app, x_for=1, x_proto=1, x_host=1)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not is_one_of(environ.get("REMOTE_ADDR", ""), self._networks):
            return self._app(environ, start_response)
        environ[FORWARDED_FOR] = self._client(environ.get(FORWARDED_FOR, ""))
        return self._forwarded(environ, start_response)

    def _client(self, forwarded_for: str) -> str:
        """Return the last address that is not a trusted proxy's: the client may have made up those before it."""
        hops = [hop.strip() for hop in forwarded_for.split(",")]
        return next((hop for hop in reversed(hops) if not is_one_of(hop, self._networks)), hops[0])
