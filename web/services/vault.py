"""The server's key, and the encryption of secrets at rest."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from core.errors import ConfigError

KEY_BYTES = 32


class Vault:
    """Encryption with the key from `secret.key`.

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
