"""Forms and uploads, read within limits."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from rewho.service.problems import Refusal
from rewho.service.schemas import MOST_ID
from rewho.service.state import state_of

LONGEST_FIELD = 65_536
MultiPartParser.spool_max_size = 2**31  # uploads stay in memory, which the limit of bodies bounds: no copy on a disk


class Form:
    """The fields and files of a form.

    Args:
        data: The form as it was parsed.
    """

    def __init__(self, data: FormData) -> None:
        self._data = data

    def text(self, name: str, absent: str = "") -> str:
        """Return the text of a field."""
        value = self._data.get(name, absent)
        return value.strip() if isinstance(value, str) else absent

    def raw(self, name: str) -> str:
        """Return the text of a field as it was typed, with spaces around it."""
        value = self._data.get(name, "")
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        """Return all values of a field that are not empty."""
        return [value.strip() for value in self._data.getlist(name) if isinstance(value, str) and value.strip()]

    def number(self, name: str) -> int:
        """Return a whole number."""
        return whole(self.text(name), name)

    def numbers(self, name: str) -> list[int]:
        """Return all whole numbers of a field, which may hold several between commas or spaces."""
        return [whole(word, name) for value in self.texts(name) for word in value.replace(",", " ").split()]

    async def files(self, name: str) -> list[bytes]:
        """Return the contents of the files of a field that are not empty."""
        found = []
        for file in self._data.getlist(name):
            if isinstance(file, UploadFile):
                found.append(await file.read())
                await file.close()  # which lets go of the copy that the parser made
        return [content for content in found if content]


def whole(text: str, name: str, most: int = MOST_ID) -> int:
    """Return text as a whole number, or refuse it."""
    if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most:
        return int(text)
    raise Refusal(400, f"{name}: expected a whole number, got {text[:40]!r}.")


async def read_form(request: Request) -> Form:
    """Return the form of a request, which is parsed once."""
    known: Any = getattr(request.state, "form", None)
    if known is None:
        most = state_of(request).limits.parts
        try:
            data = await request.form(max_files=most, max_fields=most, max_part_size=LONGEST_FIELD)
        except Refusal:
            raise
        except HTTPException as error:
            status = 413 if "Too many" in str(error.detail) or "exceeded" in str(error.detail) else 400
            raise Refusal(status, f"form: expected at most {most} parts, got: {error.detail}") from error
        known = request.state.form = Form(data)
    return known  # type: ignore[no-any-return]
