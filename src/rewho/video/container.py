"""Check a file before a decoder opens it: its kind by the first bytes, and whether its end is missing.

What is unusual: most containers declare their length in the header, so a truncated file is recognised exactly. Decoders
report no error for one: they decode what is there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from rewho.core.files import LFS_POINTER, POINTER
from rewho.video.people import VideoFailure

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,h264,hevc,ivf,mxf"
"""The demultiplexers that may open a file. None of them follows a reference to another file; playlists, `concat`, image
sequences and network protocols are excluded, because they open other files or addresses."""
BOX_LIMIT = 10_000
"""Most top-level boxes of an MP4 file that are read; an hour of fragmented video has about two thousand."""
LOOKED_BEHIND = 16 * 2**20  # bytes behind the last packet in which another video's beginning is looked for
TRANSPORT_PACKET = 188  # bytes; each begins with 0x47

_FOREIGN = (
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a list of files to join"),
    (b"[playlist]", "a playlist"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (LFS_POINTER, f"{POINTER}: `git lfs pull` fetches it"),
    (b"<", "a web page or other marked-up text"),
)
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
IVF = b"DKIF"
_ASF = b"\x30\x26\xb2\x75"
_MP4_BEGINNINGS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")
_MP4_BOXES = (*_MP4_BEGINNINGS, *(b"moof mfra sidx ssix uuid meta udta prft emsg pdin PICT imda".split()))


def check_file_kind(path: Path) -> None:
    """Check that a path is a plain file whose first bytes may be those of a video."""
    try:
        kind = path.stat().st_mode  # checked before opening, because opening a pipe blocks
        if not stat.S_ISREG(kind):
            raise VideoFailure("not a file", "a folder" if stat.S_ISDIR(kind) else "a pipe, socket or device")
        with path.open("rb") as file:
            head = file.read(512)
    except (OSError, ValueError) as error:
        raise VideoFailure("not a file", getattr(error, "strerror", None) or str(error)) from error
    if not head:
        raise VideoFailure("empty", "0 bytes")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for beginning, name in _FOREIGN:
        if text[: len(beginning)].lower() == beginning.lower():
            raise VideoFailure("not a video", name)
    if not any(head):
        raise VideoFailure("unreadable", "begins with nothing but zeros")


def count_missing_bytes(path: Path) -> int:
    """Return how many bytes the file lacks of what its container declares; 0 where it declares nothing.

    Matroska and WebM declare the size of their segment, AVI that of its RIFF chunk, MP4 and MOV that of every
    top-level box. Matroska written to a pipe declares nothing. Nor do transport streams, but a cut within one of their
    packets of 188 bytes shows.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == _EBML:
            return max(0, _matroska_end(file, size) - size)
        if head[:4] == b"RIFF":
            return max(0, 8 + _riff_size(head) - size)
        if head[4:8] in _MP4_BEGINNINGS:
            return max(0, _boxes_end(file, size) - size)
        file.seek(0)
        start = file.read(4 * TRANSPORT_PACKET)
        if start[::TRANSPORT_PACKET] == b"\x47" * 4:
            file.seek(size - size % TRANSPORT_PACKET)
            return -size % TRANSPORT_PACKET if file.read(1) == b"\x47" else 0  # else other data follows the video
    return 0


def has_video_behind(path: Path, end: int) -> bool:
    """Return whether another video of the same kind begins behind byte `end`, where the packets of the first one end.

    Of two MP4, FLV, WMV or IVF files written one behind the other the first one alone is read; of other kinds, both.
    """
    with path.open("rb") as file:
        head = file.read(16)
        beginning = b"ftyp" if head[4:8] == b"ftyp" else head if head[:4] == _ASF else head[:4]
        if beginning[:4] not in (b"ftyp", b"FLV\x01", _ASF, IVF):
            return False
        file.seek(end)
        rest = file.read(LOOKED_BEHIND)
    place = rest.find(beginning)
    while place >= 0 and beginning == b"ftyp" and not 8 <= int.from_bytes(rest[max(0, place - 4) : place], "big") < 512:
        place = rest.find(beginning, place + 1)
    return place >= 0


def declares_length(path: Path) -> bool:
    """Return whether the header declares the file's length; a writer to a pipe cannot fill it in."""
    with path.open("rb") as file:
        head = file.read(32)
    if head[:4] == IVF:
        return int.from_bytes(head[24:28], "little") not in (0, 2**32 - 1)
    return head[:4] != b"RIFF" or _riff_size(head) > 0


def _riff_size(head: bytes) -> int:
    """Return the length in bytes that a RIFF header declares; 0 where the writer could not fill it in."""
    length = int.from_bytes(head[4:8], "little")
    return 0 if length | 0x800000FF == 2**32 - 1 else length


def _matroska_end(file: BinaryIO, size: int) -> int:
    """Return the offset at which the first segment ends; 0 where its size is unknown or beyond the file."""
    file.seek(4)
    length = _variable_size(file)
    if length is None or length > size:
        return 0
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _variable_size(file)
    return 0 if length is None else file.tell() + length


def _variable_size(file: BinaryIO) -> int | None:
    """Read an EBML size: the leading zeros of its first byte say how many bytes follow; all ones mean unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + rest, "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Return the offset at which the last top-level box of an MP4 file ends; 0 where their sizes are not valid."""
    place = 0
    for _ in range(BOX_LIMIT):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8 or head[4:8] not in _MP4_BOXES:  # the end of the file, or other data behind the video
            return place if place > size else 0
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0 means up to the end of the file
            return 0
        place += length
    return 0
