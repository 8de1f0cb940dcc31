"""Downloads of files whose length and hash are known: verified, resumed after a cut, renamed last.

Only the host of the address and the hosts that are named may be redirected to, over the same scheme.
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from rewho.core.artifact import hash_file
from rewho.core.check import UserError, describe_error
from rewho.core.lock import Lock
from rewho.core.progress import Progress, say
from rewho.core.record import rewho_version

PATIENCE = 30.0  # seconds without a byte
ATTEMPTS = 4  # a cut connection is taken up again, as long as each attempt brings something
CHUNK = 1 << 18
PARTIAL, RANGE_NOT_SATISFIABLE = 206, 416
UNFINISHED = ".part"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Redirects(HTTPRedirectHandler):
    """Follows redirects to known hosts only.

    Args:
        address: The first address.
        hosts: Other hosts that may be redirected to.
        fix: What to do where another host is named.
    """

    def __init__(self, address: str, hosts: Collection[str], fix: str) -> None:
        self._first, self._hosts, self._fix = urlsplit(address), hosts, fix

    def redirect_request(  # noqa: D102 - see urllib
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Request | None:
        there = urlsplit(newurl)
        known = there.netloc == self._first.netloc or there.netloc in self._hosts
        if there.scheme != self._first.scheme or not known:
            raise UserError(
                f"{self._first.netloc}",
                expected=f"the file itself, or a redirect over {self._first.scheme} to "
                f"{' or '.join((self._first.netloc, *self._hosts))}",
                got=f"a redirect to {there.scheme}://{there.netloc}",
                fix=self._fix,
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    address: str, path: Path, *, size: int, sha256: str, name: str, by_hand: str, hosts: Collection[str] = ()
) -> Path:
    """Download a file, and return its path once its bytes are those of the hash.

    What an interrupted download left is continued. The file appears under its name only when it is whole.

    Args:
        address: Where it is.
        path: The file to write; folders are created.
        size: Its length in bytes.
        sha256: Its hash.
        name: What it is, for messages.
        by_hand: How to get it without this program, for messages.
        hosts: Other hosts that the address may redirect to.

    Raises:
        UserError: No network, another file, a redirect elsewhere, too little space.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + UNFINISHED)
    fix = by_hand[0].upper() + by_hand[1:] + "."
    with Lock(path.with_name(f".{path.name}.lock"), f"the download of {name}"):
        have = part.stat().st_size if part.is_file() else 0
        free = shutil.disk_usage(path.parent).free
        if free < size - have:
            expected = f"{size - have:,} bytes free for {name}"
            raise UserError(str(path.parent), expected=expected, got=f"{free:,}", fix="Free some space.")
        _fetch(address, part, size, name, Redirects(address, hosts, fix), fix)
        got = hash_file(part)
        if got != sha256:
            part.unlink()
            again = "Try once more. If the bytes are the same, they are not the published file: do not use them."
            raise UserError(
                f"{name} from {address}", expected=f"a file of sha256 {sha256}", got=f"sha256 {got}", fix=again
            )
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    return path


def _fetch(address: str, part: Path, size: int, name: str, redirects: Redirects, fix: str) -> None:
    """Fill `part` to its length, taking up cut connections; raise a UserError if it does not get there."""
    have = part.stat().st_size if part.is_file() else 0
    if have > size:
        part.unlink()
        have = 0
    progress = Progress(f"download {name}", size // 1000, have // 1000, unit="kB")
    try:
        for attempt in range(1, ATTEMPTS + 1):
            before, why = have, ""
            try:
                _append(address, part, size, redirects, fix, progress)
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and (error.filename or error.errno in FULL):
                    error.filename = error.filename or str(part)
                    raise  # the disk, not the network
                why = describe_error(getattr(error, "reason", None) or error)
            have = part.stat().st_size if part.is_file() else 0
            if have == size:
                return
            got = f"{have:,} bytes" + (f", then {why}" if why else "") if have else why or "nothing"
            if have <= before or attempt == ATTEMPTS:
                more = "Run the same command again, which continues; or " if have else "Check the network; or "
                expected = f"{size:,} bytes from {urlsplit(address).netloc}"
                raise UserError(f"download of {name}", expected=expected, got=got, fix=more + fix[0].lower() + fix[1:])
            say(f"the connection was cut after {have:,} of {size:,} bytes; continuing")
    finally:
        progress.close()


def _append(address: str, part: Path, size: int, redirects: Redirects, fix: str, progress: Progress) -> None:
    """Ask for the rest of a file and append it; from the beginning where the server gives no parts."""
    have = part.stat().st_size if part.is_file() else 0
    if have == size:
        return
    headers = {"User-Agent": f"rewho/{rewho_version()}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = Request(address, headers=headers)  # noqa: S310 - the addresses are this package's own
    try:
        answer = build_opener(redirects).open(request, timeout=PATIENCE)
    except HTTPError as error:
        if error.code == RANGE_NOT_SATISFIABLE and have:
            part.unlink()
            return
        got = f"status {error.code}: {error.reason}"
        raise UserError(address, expected="the file", got=got, fix=fix) from error
    with answer:
        continued = have and answer.status == PARTIAL and _starts_at(answer, have)
        length = answer.headers.get("Content-Length", "")
        left = size - have if continued else size
        if length.isdigit() and int(length) != left:
            got = f"{int(length):,} bytes of {answer.headers.get_content_type()}"
            raise UserError(address, expected=f"a file of {left:,} bytes", got=got, fix=fix)
        if not continued:
            progress.done = 0
        with part.open("ab" if continued else "wb") as file:
            while left > 0 and (chunk := answer.read(min(CHUNK, left))):
                file.write(chunk)
                left -= len(chunk)
                progress.advance(max(0, (size - left) // 1000 - progress.done))


def _starts_at(answer: Any, have: int) -> bool:  # noqa: ANN401 - urllib's answer has no public class
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")
