"""Decoding image files to uint8 RGB arrays, and keeping them in memory if they fit.

The size is read from the header first (see `image_header`), so that no file can make the decoder allocate more than
PIXEL_LIMIT pixels. All images are in one flat buffer: forked worker processes share its memory pages, because the pages
are never written and hold no Python objects.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_range
from rewho.core.files import POINTER, POINTER_FIX, read_bytes
from rewho.core.progress import warn_once
from rewho.data.image_header import HeaderError, ImageHeader, read_header
from rewho.data.table import ImageTable

PIXEL_LIMIT = 25_000_000
"""Most pixels of an image: 75 MB decoded; crops of people have about 10,000."""
FILE_LIMIT = 64 * 2**20
"""Largest image file, in bytes."""
KEPT = 4
"""How many times as high and wide as what is needed a JPEG stays that is decoded at a part of its size."""
PARTS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
"""OpenCV's flag by what an image's sides are divided by in decoding."""
LARGE = 2**21
"""Pixels from which an image is decoded into the array that is returned."""

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""
Source = ImageTable | Sequence[Path]

_STEP = 64
_BLOCK = 2**16  # pixels that are converted at a time
_COMPARED = 512  # rows and columns of two images that are compared
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def decode(
    source: bytes | Path | str,
    name: str = "image",
    pixel_limit: int = PIXEL_LIMIT,
    least: tuple[int, int] | None = None,
    cut: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = np.ascontiguousarray,
) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, BMP or WebP image to uint8 RGB [H, W, 3], upright by its EXIF orientation, over white.

    Args:
        source: The file's bytes, or its path.
        name: The image's name in messages, if `source` is bytes.
        pixel_limit: Most pixels, height times width; more are refused before decoding.
        least: Height and width that are needed. A JPEG of `2 KEPT` times as much or more is decoded at 1/2, 1/4 or 1/8
            of its size, which takes a fraction of the memory. None decodes every image whole.
        cut: Returns the part that is wanted, as an array of its own. What it gets may be a view that is turned.

    Example:
        >>> grey = cv2.imencode(".png", np.full((4, 2, 3), 7, np.uint8))[1].tobytes()
        >>> decode(grey).shape
        (4, 2, 3)
    """
    data = source if isinstance(source, bytes) else read_file(Path(source))
    name = name if isinstance(source, bytes) else str(source)
    header = check_header(data, name, pixel_limit)
    part = _part(header, least)
    pixels = _decode_pixels(data, name, header, part)
    if pixels is None or sorted(pixels.shape[:2]) != sorted(-(-side // part) for side in header[1:3]):
        raise UserError(
            name, expected="a whole image", got=f"a damaged {header.format} file", fix="Copy or create it again."
        )
    return cut(pixels)


def decoding_bytes(header: ImageHeader, least: tuple[int, int] | None = None) -> int:
    """Return about how many bytes `decode` takes at most, beside the file and a block of rows.

    Example:
        >>> decoding_bytes(ImageHeader("PNG", 3000, 4000)), decoding_bytes(ImageHeader("JPEG", 3000, 4000), (256, 128))
        (36000000, 18000000)
    """
    once = 3 / _part(header, least) ** 2
    each = max(header.held + once, once if once == 3 else 2 * once)  # OpenCV copies what it reduces
    return round(header.height * header.width * each)


def read_all(
    read: Callable[[_Item], _Result], items: Sequence[_Item], run: Callable[..., Iterable[Any]] = map
) -> list[_Result]:
    """Return what `read` makes of each item; one UserError names all that cannot be read, not the first alone.

    Args:
        read: Reads an item, such as `decode`; may raise UserError.
        items: Files, or encoded images.
        run: Calls a function on each item, such as the `map` of a pool of threads.

    Example:
        >>> grey = cv2.imencode(".png", np.full((4, 2, 3), 7, np.uint8))[1].tobytes()
        >>> len(read_all(decode, [grey, grey]))
        2
    """

    def attempt(item: _Item) -> _Result | UserError:
        try:
            return read(item)
        except UserError as error:
            return error

    results = list(run(attempt, items))
    _raise_together([one for one in results if isinstance(one, UserError)], len(results))
    return results


def check_header(data: bytes, name: str, pixel_limit: int = PIXEL_LIMIT) -> ImageHeader:
    """Return the header of an image that can be decoded safely."""
    try:
        header = read_header(data)
    except HeaderError as error:
        fix = POINTER_FIX if str(error) == POINTER else "Convert or remove it."
        raise UserError(name, expected="a JPEG, PNG, BMP or WebP image", got=str(error), fix=fix) from None
    if header.height * header.width > pixel_limit:
        got = f"{header.width:,} x {header.height:,}"
        fix = "Crop or reduce the image."
        raise UserError(name, expected=f"at most {pixel_limit:,} pixels", got=got, fix=fix)
    return header


def read_file(file: Path) -> bytes:
    """Return the bytes of an image file; UserError if it is missing, not a regular file, too large or unreadable."""
    return read_bytes(file, FILE_LIMIT, expected="a readable image file")


class Images(Sequence[NDArray[np.uint8]]):
    """The images of a table, decoded once into memory if they fit, otherwise at every access.

    Args:
        source: A table, or files.
        memory_gb: Most memory for decoded images, in gigabytes (10^9 bytes); 0 decodes at every access.
        threads: Threads that decode; 0 is one per processor.
        progress: Called with (done, total) while images are decoded into memory.
        pixel_limit: Most pixels per image.

    Attributes:
        files: Path of each image.
        in_memory: Whether all images are decoded in memory.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "a.png")
        ...     _ = file.write_bytes(cv2.imencode(".png", np.zeros((4, 2, 3), np.uint8))[1].tobytes())
        ...     images = Images([file])
        >>> len(images), images[0].shape, images.bytes, images.in_memory
        (1, (4, 2, 3), 24, True)
    """

    def __init__(
        self,
        source: Source,
        memory_gb: float = 4.0,
        *,
        threads: int = 0,
        progress: Progress | None = None,
        pixel_limit: int = PIXEL_LIMIT,
    ) -> None:
        check_range("memory_gb", memory_gb, 0, 1e6)
        self.files = _files(source)
        self._pixel_limit = pixel_limit
        self._buffer = np.empty(0, np.uint8)
        self._offsets = _plan(self.files, int(memory_gb * 1e9), threads, pixel_limit)
        self._shapes = np.zeros((len(self.files), 2), np.int32)
        self.in_memory = self._offsets is not None
        if self.in_memory:
            self._fill(threads, progress)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:  # type: ignore[override]  # rows, not slices
        """Return image `row`, uint8 RGB [H, W, 3], read-only if in memory; UserError if it cannot be decoded."""
        if self._offsets is None:
            return decode(self.files[row], pixel_limit=self._pixel_limit)
        row = range(len(self.files))[row]
        flat = self._buffer[self._offsets[row] : self._offsets[row + 1]]
        return flat.reshape(int(self._shapes[row, 0]), int(self._shapes[row, 1]), 3)

    def _fill(self, threads: int, progress: Progress | None) -> None:
        assert self._offsets is not None
        offsets = self._offsets
        self._buffer = np.empty(int(offsets[-1]), np.uint8)

        def store(row: int) -> UserError | None:
            try:
                pixels = decode(self.files[row], pixel_limit=self._pixel_limit)
            except UserError as error:
                return error
            self._shapes[row] = pixels.shape[:2]
            self._buffer[offsets[row] : offsets[row + 1]] = pixels.reshape(-1)
            return None

        results = _in_threads(store, range(len(self.files)), threads, progress)
        _raise_together([error for error in results if error is not None], len(self.files))
        wide = np.flatnonzero(self._shapes[:, 1] > self._shapes[:, 0]).tolist()
        warn_of_wide([str(self.files[row]) for row in wide], len(self.files))
        self._buffer.flags.writeable = False

    @property
    def bytes(self) -> int:
        """Size of the decoded images in memory, in bytes; 0 if they are decoded at every access."""
        return self._buffer.nbytes


def warn_of_wide(names: Sequence[str], total: int) -> None:
    """Warn of images (`names`, of `total`) that are wider than high, as scenes with several people are."""
    if names:
        one = "the image" if names[0] == "number 1" else names[0]  # pixels have no name
        many = f"{len(names):,} of {total:,} images are wider than high, such as {names[0]}; each is treated as"
        warn_once(
            f"{f'{one} is wider than high; it is treated as' if total == 1 else many} one upright person. `rewho crop` "
            "crops people out of videos and scenes; `rewho gallery search --box` searches with a part of an image"
        )


def _files(source: Source) -> list[Path]:
    if isinstance(source, ImageTable):
        return [source.file(row) for row in range(len(source))]
    return [Path(file) for file in source]


def _plan(files: list[Path], memory: int, threads: int, pixel_limit: int) -> NDArray[np.int64] | None:
    """Return the offset of each image in one buffer, int64 [N + 1]; None as soon as they do not fit in `memory`."""
    errors: list[UserError] = []
    sizes: list[int] = []
    total = 0

    def size(row: int) -> int | UserError:
        try:
            header = check_header(read_file(files[row]), str(files[row]), pixel_limit)
        except UserError as error:
            return error
        return header.height * header.width * 3

    for start in range(0, len(files), _STEP * 16):
        for result in _in_threads(size, range(start, min(start + _STEP * 16, len(files))), threads, None):
            if isinstance(result, UserError):
                errors.append(result)
            else:
                sizes.append(result)
                total += result
        if total > memory:
            return None
    _raise_together(errors, len(files))
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _in_threads(work: Callable[[int], _Result], rows: range, threads: int, progress: Progress | None) -> list[_Result]:
    def do_step(start: int) -> list[_Result]:
        return [work(row) for row in rows[start : start + _STEP]]

    results: list[_Result] = []
    with ThreadPoolExecutor(threads or _processors()) as pool:
        for part in pool.map(do_step, range(0, len(rows), _STEP)):
            results += part
            if progress:
                progress(len(results), len(rows))
    return results


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _raise_together(errors: list[UserError], total: int) -> None:
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    named = "; ".join(f"{error.what} ({error.got})" for error in errors[:3])
    more = f"; and {len(errors) - 3:,} more" if len(errors) > 3 else ""
    got = f"{len(errors):,} of {total:,} that are not: {named}{more}"
    alike = {error.fix for error in errors}  # of pointers, or of files without permission
    fix = alike.pop() if len(alike) == 1 else "Replace these files, or remove them from the data set."
    raise UserError("images", expected="whole JPEG, PNG, BMP or WebP images", got=got, fix=fix)


def _part(header: ImageHeader, least: tuple[int, int] | None) -> int:
    """Return by what an image's sides are divided in decoding; EXIF may turn it, so either side may be its height."""
    if header.format != "JPEG" or least is None:
        return 1
    times = min(header.height, header.width) / max(least) / KEPT
    return max(part for part in PARTS if part <= max(times, 1))


def _decode_pixels(data: bytes, name: str, header: ImageHeader, part: int) -> NDArray[np.uint8] | None:
    alpha, turn = header.alpha, header.turn
    pixels: Any
    try:
        stored = _decode_whole(data, header, cv2.IMREAD_UNCHANGED) if alpha else None
        if stored is not None and not header.exif:
            pixels = _without_alpha(stored, name)
        elif part > 1:
            pixels, turn = cv2.imdecode(np.frombuffer(data, np.uint8), PARTS[part]), 1
        else:
            as_stored = cv2.IMREAD_IGNORE_ORIENTATION if turn > 1 else 0
            pixels = _decode_whole(data, header, cv2.IMREAD_COLOR | as_stored)
    except cv2.error:
        return None
    if pixels is None or (alpha and stored is None):
        return None
    if stored is not None and header.exif:
        pixels = _over_white(pixels, stored, name)
    for rows in _blocks(pixels):  # in place: a large image is in memory once
        rows[:] = cv2.cvtColor(rows, cv2.COLOR_BGR2RGB)
    return _turned(np.asarray(pixels, np.uint8), turn)


def _turned(pixels: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Return an upright view of an image that is stored with an EXIF orientation."""
    if turn > 4:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if turn in (3, 4, 7, 8) else 1, :: -1 if turn in (2, 3, 6, 7) else 1]


def _decode_whole(data: bytes, header: ImageHeader, how: int) -> Any:  # noqa: ANN401 - an array, or None
    """Decode an image, a large one into the array that is returned.

    What `cv2.imdecode` returns is a copy of what it decoded. Only `cv2.imread` decodes into an array, from a file: one
    in memory, under the name that Linux has for it.
    """
    if header.height * header.width >= LARGE and hasattr(os, "memfd_create"):
        alpha = how == cv2.IMREAD_UNCHANGED
        kind = np.uint16 if alpha and header.deep else np.uint8
        pixels = np.zeros((header.height, header.width, 4 if alpha else 3), kind)
        with os.fdopen(os.memfd_create("image"), "wb") as file:
            file.write(data)
            file.flush()
            with suppress(cv2.error, TypeError):  # a palette, say, or an OpenCV that has no such argument
                return cv2.imread(f"/proc/self/fd/{file.fileno()}", pixels, how)
        del pixels
    return cv2.imdecode(np.frombuffer(data, np.uint8), how)


def _blocks(*images: NDArray[Any]) -> Iterator[Any]:
    """Yield blocks of rows of an image, or of several of the same size."""
    height, width = images[0].shape[:2]
    step = max(1, _BLOCK // max(width, 1))
    for start in range(0, height, step):
        parts = tuple(one[start : start + step] for one in images)
        yield parts if len(parts) > 1 else parts[0]


def _check_alpha(stored: NDArray[Any], name: str) -> None:
    if stored.ndim != 3 or stored.shape[2] != 4:
        fix = "Save it again as PNG with an alpha channel, or without transparency."
        raise UserError(name, expected="an alpha channel", got="a transparent grey or colour", fix=fix)


def _without_alpha(stored: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return a BGRA image over white as BGR, in its own memory: each block of rows is written before what is read."""
    _check_alpha(stored, name)
    highest, flat, place = np.iinfo(stored.dtype).max, stored.reshape(-1).view(np.uint8), 0
    for rows in _blocks(stored):
        opacity = rows[:, :, 3:] / highest
        colours = rows[:, :, :3] >> (8 * (stored.itemsize - 1))
        done = np.rint(colours * opacity + 255 * (1 - opacity)).astype(np.uint8).reshape(-1)
        flat[place : place + len(done)] = done
        place += len(done)
    return flat[:place].reshape(*stored.shape[:2], 3)


def _over_white(pixels: NDArray[Any], stored: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return an upright BGR image composited over white.

    OpenCV rotates an image upright only without alpha. So `stored`, with alpha, is rotated and mirrored here in all
    eight ways, and the one nearest to the upright `pixels` [H, W, 3] is used.
    """
    _check_alpha(stored, name)
    turned = [np.rot90(side, turns) for side in (stored, stored[:, ::-1]) for turns in range(4)]
    upright = [one for one in turned if one.shape[:2] == pixels.shape[:2]]
    highest = np.iinfo(stored.dtype).max
    every = max(1, max(pixels.shape[:2]) // _COMPARED)
    some = pixels[::every, ::every]
    differences = [np.abs(one[::every, ::every, :3] * (255 / highest) - some).sum() for one in upright]
    for rows, above in _blocks(pixels, upright[int(np.argmin(differences))]):
        opacity = above[:, :, 3:] / highest
        rows[:] = np.rint(rows * opacity + 255 * (1 - opacity))
    return pixels
