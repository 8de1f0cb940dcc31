"""Reading format and size of a JPEG, PNG, BMP or WebP image from its header, before decoding.

A decoder allocates what a header claims, so a 48 kB file can request a gigabyte. This module reads a few bytes of every
chunk and allocates nothing. Messages name the real kind of a file, not that of its ending.
"""

from __future__ import annotations

from struct import error as StructError  # struct spells its exception in small letters
from struct import unpack_from
from typing import NamedTuple

from rewho.core.files import LFS_POINTER, POINTER

METADATA_LIMIT = 4 * 2**20
"""Most bytes of metadata (EXIF, colour profiles, comments)."""
SCAN_LIMIT = 100
"""Most scans of a progressive JPEG; usual ones have ten, and each takes as long as a whole image."""
CHUNK_LIMIT = 100_000
"""Most chunks of a PNG and segments of a JPEG header; a 25-megapixel PNG has about ten thousand."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"}
_JPEG_SIZES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_FOREIGN = (
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop file"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "an EPS file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (LFS_POINTER, POINTER),
    (b"<", "a web page or other marked-up text"),
)


class HeaderError(ValueError):
    """Why a file is refused, as the end of the sentence "got ..."."""


class ImageHeader(NamedTuple):
    """Format and stored size of an image; EXIF orientation may swap height and width in decoding.

    Attributes:
        format: JPEG, PNG, BMP or WebP.
        height: Of the stored image, in pixels.
        width: Of the stored image, in pixels.
        alpha: Whether it may be transparent.
        held: Bytes per pixel that its decoder holds beside the three that it returns.
        turn: EXIF orientation of a JPEG, 1 to 8.
        exif: Whether an image of another format may have one.
        deep: Whether it has 16 bits per channel.
    """

    format: str
    height: int
    width: int
    alpha: bool = False
    held: float = 0.0
    turn: int = 1
    exif: bool = False
    deep: bool = False


def read_header(data: bytes) -> ImageHeader:
    """Return the header of a whole file; HeaderError if it is of another kind, truncated, animated or too large."""
    try:
        header = _read_any(data)
    except (StructError, IndexError):
        raise HeaderError("a file that is cut short") from None
    if header.height <= 0 or header.width <= 0:
        raise HeaderError(f"a {header.format} image of {header.width} x {header.height} pixels")
    return header


def _read_any(data: bytes) -> ImageHeader:
    if data[:3] == b"\xff\xd8\xff":
        return _read_jpeg(data)
    if data[:8] == _PNG:
        return _read_png(data)
    if data[:2] == b"BM" and len(data) >= 26:
        return _read_bmp(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp(data)
    if not data:
        raise HeaderError("an empty file")
    if data[4:8] == b"ftyp":
        raise HeaderError("a video, or a HEIC or AVIF image")
    stripped = data[:64].lstrip()
    raise HeaderError(next((kind for magic, kind in _FOREIGN if stripped.startswith(magic)), "a file of unknown kind"))


def _read_jpeg(data: bytes) -> ImageHeader:
    place, frame, size, turn = 2, 2, None, 1
    for _ in range(CHUNK_LIMIT):
        if data[place] != 0xFF:
            raise HeaderError("a damaged JPEG image")
        marker = data[place + 1]
        if marker == 0xFF or marker in _JPEG_BARE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_SIZES and size is None:
            size, frame = ImageHeader("JPEG", *unpack_from(">HH", data, place + 5)), place
        if marker == 0xDA and size is not None:
            _check_jpeg_scans(data, place)
            return size._replace(held=_jpeg_held(data, frame, data[place + 4]), turn=turn)
        if marker in (0xD9, 0xDA):
            break
        if marker == 0xE1 and data[place + 4 : place + 10] == b"Exif\0\0":
            turn = _read_turn(data, place + 10, place + 2 + int(unpack_from(">H", data, place + 2)[0]))
        place += 2 + int(unpack_from(">H", data, place + 2)[0])
        if place > METADATA_LIMIT:
            raise HeaderError(f"a JPEG image with more than {METADATA_LIMIT:,} bytes of metadata")
    raise HeaderError("a JPEG file without an image")


def _jpeg_held(data: bytes, place: int, scanned: int) -> float:
    """Return the bytes per pixel of the coefficients that a decoder of several scans keeps, two for each.

    Args:
        data: The file.
        place: Of the marker of its size.
        scanned: Components in the first scan: it is the only one where it has all of them.
    """
    if data[place + 1] not in _JPEG_PROGRESSIVE and scanned == data[place + 9]:
        return 0.0
    factors = [data[at] for at in range(place + 11, place + 11 + 3 * data[place + 9], 3)]
    across, down = (max(1, *(one >> 4 for one in factors)), max(1, *(one & 15 for one in factors)))
    return 2 * sum((one >> 4) * (one & 15) for one in factors) / (across * down)


def _read_turn(data: bytes, begin: int, end: int) -> int:
    """Return the orientation in an EXIF block; 1 where there is none, or none that can be read."""
    order = {b"II": "<", b"MM": ">"}.get(data[begin : begin + 2])
    if order is None or end > len(data) or end - begin < 8:
        return 1
    first = begin + int(unpack_from(f"{order}I", data, begin + 4)[0])
    if first + 2 > end:
        return 1
    (count,) = unpack_from(f"{order}H", data, first)
    for at in range(first + 2, min(first + 2 + 12 * count, end - 11), 12):
        tag, kind, _, value = unpack_from(f"{order}HHIH", data, at)
        if (tag, kind) == (0x112, 3):
            return value if 1 <= value <= 8 else 1
    return 1


def _check_jpeg_scans(data: bytes, place: int) -> None:
    scans = data.count(b"\xff\xda", place)
    if scans > SCAN_LIMIT:
        raise HeaderError(f"a JPEG image of {scans:,} scans")
    if data.find(b"\xff\xd9", place) < 0:
        raise HeaderError("a JPEG image that is cut short")


def _read_png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        raise HeaderError("a damaged PNG image")
    width, height, depth, colour_type = unpack_from(">IIBB", data, 16)
    place, metadata, alpha, exif = 8, 0, colour_type >= 4, False
    for _ in range(CHUNK_LIMIT):
        length, kind = unpack_from(">I4s", data, place)
        place += 12 + length
        if place > len(data):
            raise HeaderError("a PNG image that is cut short")
        if kind == b"acTL":
            raise HeaderError("an animated PNG image")
        alpha |= kind == b"tRNS"
        exif |= kind == b"eXIf"
        if kind not in _PNG_PIXELS:
            metadata += length
        if metadata > METADATA_LIMIT:
            raise HeaderError(f"a PNG image with more than {METADATA_LIMIT:,} bytes of metadata")
        if kind == b"IEND":
            held = (4.0 if depth < 16 else 8.0) - (0 if exif else 3)
            return ImageHeader("PNG", height, width, alpha, held if alpha else 0.0, exif=exif, deep=depth == 16)
    raise HeaderError(f"a PNG image of more than {CHUNK_LIMIT:,} chunks")


def _read_bmp(data: bytes) -> ImageHeader:
    first_pixel, header_size = unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, bits = unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = unpack_from("<iiHHI", data, 18)
    height = abs(height)  # negative: rows are stored from the top
    row_bytes = (width * bits + 31) // 32 * 4
    if compression in (0, 3) and first_pixel + row_bytes * height > len(data):
        raise HeaderError("a BMP image that is cut short")
    return ImageHeader("BMP", height, width)


def _webp_held(alpha: bool, lossless: bool) -> float:
    """Return the bytes per pixel that its decoder holds beside what it returns, as measured."""
    return 6.0 if alpha else 4.0 * lossless


def _read_webp(data: bytes) -> ImageHeader:
    (riff_size,) = unpack_from("<I", data, 4)
    if riff_size + 8 > len(data):
        raise HeaderError("a WebP image that is cut short")
    kind = data[12:16]
    if kind == b"VP8X":
        if data[20] & 2:
            raise HeaderError("an animated WebP image")
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        alpha, lossless = bool(data[20] & 16), data.find(b"VP8L", 30) >= 0
        return ImageHeader("WebP", height, width, alpha, _webp_held(alpha, lossless), exif=bool(data[20] & 8))
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = unpack_from("<I", data, 21)
        alpha = bool(bits >> 28 & 1)
        return ImageHeader("WebP", (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, alpha, _webp_held(alpha, True))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = unpack_from("<HH", data, 26)
        return ImageHeader("WebP", height & 0x3FFF, width & 0x3FFF)
    raise HeaderError("a damaged WebP image")
