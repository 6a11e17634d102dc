"""Deploy keys: an ssh key pair for each repository, of which only this server has the private half."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def new_pair(project_name: str) -> tuple[str, bytes]:
    """The public half as forges take it, with a comment that says whose it is, and the private one as ssh reads it."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return f"{public} pushmill {project_name}", private
