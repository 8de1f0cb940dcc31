"""Signed receipts: what was done is signed with the gallery's own key, so that its words can be checked elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rewho.core.check import UserError
from rewho.gallery.database import Database

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519

KEY = "signing key"
FIELDS = ("content", "key", "signature")


def _ed25519() -> Any:  # noqa: ANN401 - a module
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        fix = "pip install 'rewho[gallery]'"
        got = "an installation without it"
        raise UserError("signatures", expected="the library cryptography", got=got, fix=fix) from error
    return ed25519


def make_key() -> str:
    """Return a new private key (Ed25519) as hexadecimal digits."""
    key: ed25519.Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.generate()
    return key.private_bytes_raw().hex()


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a receipt's content that are signed."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def sign(database: Database, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a receipt: the content, the gallery's public key and the signature."""
    key: ed25519.Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(bytes.fromhex(database.read(KEY)))
    public = key.public_key().public_bytes_raw().hex()
    return {"content": dict(content), "key": public, "signature": key.sign(canonical(content)).hex()}


def public_key(database: Database) -> str:
    """Return the gallery's public key, as hexadecimal digits."""
    key: ed25519.Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(bytes.fromhex(database.read(KEY)))
    return key.public_key().public_bytes_raw().hex()


def check_receipt(receipt: Mapping[str, Any], key: str = "") -> bool:
    """Return whether a receipt is as it was signed.

    Args:
        receipt: What `sign` returned.
        key: The public key that it must be signed with; "" accepts the one in it.
    """
    from cryptography.exceptions import InvalidSignature

    if set(receipt) != set(FIELDS) or (key and receipt["key"] != key):
        return False
    try:
        public: ed25519.Ed25519PublicKey = _ed25519().Ed25519PublicKey.from_public_bytes(bytes.fromhex(receipt["key"]))
        public.verify(bytes.fromhex(receipt["signature"]), canonical(receipt["content"]))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
