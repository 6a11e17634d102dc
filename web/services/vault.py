"""The server's key: encrypts secrets at rest, and signs values that clients return."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from core.errors import ConfigError
from core.text import whole_number

KEY_BYTES = 32


class Vault:
    """Encryption and signatures with the key from `secret.key`.

    That file and the database together reveal every secret: both have mode 0600 below a directory with 0700.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._fernet = Fernet(base64.urlsafe_b64encode(self.derived("encryption")))

    def derived(self, purpose: str) -> bytes:
        """Return a separate key for each purpose."""
        return hmac.digest(self._key, f"pushmill {purpose}".encode(), hashlib.sha256)

    def encrypt(self, plain: bytes) -> bytes:
        return self._fernet.encrypt(plain)

    def decrypt(self, token: bytes) -> bytes:
        try:
            return self._fernet.decrypt(token)
        except InvalidToken:
            raise ConfigError(
                "a stored secret cannot be decrypted: secret.key is not the one it was written with"
            ) from None

    def sign(self, what: str, lifetime_s: int) -> str:
        """Return a signature of `what` that `check` accepts for `lifetime_s` seconds."""
        expires = int(time.time()) + lifetime_s
        return f"{expires}-{self._digest(what, expires)}"

    def check(self, what: str, signature: str) -> bool:
        expires, _, digest = signature.partition("-")
        if whole_number(expires) is None or int(expires) < time.time():
            return False
        return hmac.compare_digest(self._digest(what, int(expires)).encode(), digest.encode())

    def _digest(self, what: str, expires: int) -> str:
        return hmac.new(self.derived("signature"), f"{expires} {what}".encode(), hashlib.sha256).hexdigest()


def load(path: Path) -> Vault:
    """Return the vault with the key in `path`, which is created if it does not exist. Raises ConfigError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise ConfigError(
                f"{path} must hold {KEY_BYTES} bytes, it has {len(key)}; restore it from a backup"
            ) from None
        return Vault(key)
    with os.fdopen(descriptor, "wb") as file:
        key = os.urandom(KEY_BYTES)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return Vault(key)
