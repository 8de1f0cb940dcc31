"""Receipts: what was done, signed with a key of the folder that it was done in, so that it can be checked elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rewho.core.check import UserError, install

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519

FIELDS = ("content", "key", "signature")


def _ed25519() -> Any:  # noqa: ANN401 - a module
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        fix = install("gallery")
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


def _open(key: str) -> ed25519.Ed25519PrivateKey:
    opened: ed25519.Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))
    return opened


def public_of(key: str) -> str:
    """Return the public key of a private key, both as hexadecimal digits."""
    return _open(key).public_key().public_bytes_raw().hex()


def sign(key: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a receipt: the content, the public key of a private one, and the signature.

    Example:
        >>> receipt = sign(make_key(), {"action": "forget"})
        >>> check_receipt(receipt), check_receipt({**receipt, "content": {"action": "hide"}})
        (True, False)
    """
    return {"content": dict(content), "key": public_of(key), "signature": _open(key).sign(canonical(content)).hex()}


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
