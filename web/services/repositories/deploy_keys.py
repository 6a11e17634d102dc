"""Deploy keys: an ssh key pair for each repository, whose private half only this server has."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def create_key_pair(project_name: str) -> tuple[str, bytes]:
    """Return a new key pair: the public key as forges accept it, with the project as comment, and the private key."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return f"{public} pushmill {project_name}", private
