"""A server whose private Redis accepts runners of other machines, over TLS."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from api_server import ApiServer
from instance import free_port
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.config import RedisConfig
from web.processes.private_redis import EmbeddedRedis, find_binary
from web.services.runners import registration
from web.services.runners.registration import RunnerCredentials
from web.services.scheduling.queues import Queues

ONCE = Retry(NoBackoff(), 0)


def certificate(folder: Path) -> tuple[str, str]:
    """The files of a certificate for loopback that no authority signed, and of its key."""
    cert, key = str(folder / "redis.crt"), str(folder / "redis.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=pushmill", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


class RedisSite:
    """`admin` is a connection with the server's own rights."""

    def __init__(self, folder: Path) -> None:
        self.cert, key = certificate(folder)
        listening = {"listen": f"127.0.0.1:{free_port()}", "cert": self.cert, "key": key}
        (folder / "data").mkdir(mode=0o700)
        self.redis = EmbeddedRedis(folder / "data" / "redis", find_binary(), RedisConfig(**listening))
        self.redis.start(os.environ)
        self.api = ApiServer(folder / "data", redis=listening, server={"url": "https://pushmill.example"})
        self.config = self.api.config
        self.admin = Redis.from_url(self.redis.url)
        self.queues = Queues(self.admin)

    def register(self, name: str, *environments: str) -> RunnerCredentials:
        return registration.register(self.api.context, self.queues, name, environments or ("default",))

    def connect(self, credentials: RunnerCredentials) -> Redis:
        """As the runner's machine does, which has a copy of the certificate."""
        url = credentials.redis_url.replace("/etc/pushmill/redis.crt", self.cert)
        return Redis.from_url(url, retry=ONCE, socket_timeout=60)

    def close(self) -> None:
        self.admin.close()
        self.redis.stop(5.0)
        self.api.app.extensions["pushmill"].queues.connection.close()
        self.api.close()
