"""The gallery's own key, which signs what was done in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewho.core import signing
from rewho.gallery.database import Database

KEY = "signing key"
"""Name in the table `about` of the private key."""


def sign(database: Database, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a receipt: the content, the gallery's public key and the signature."""
    return signing.sign(database.read(KEY), content)


def public_key(database: Database) -> str:
    """Return the gallery's public key, as hexadecimal digits."""
    return signing.public_of(database.read(KEY))
