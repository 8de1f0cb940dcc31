"""Images as a caller passes them → pixels, in batches; nothing here imports torch."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_count
from rewho.data.augment import resize
from rewho.data.images import decode, read_all, warn_of_wide
from rewho.data.views import View

Image = str | Path | bytes | NDArray[np.uint8]
"""An image. PIL images are accepted too; the type does not name them, because Pillow is not a dependency."""
Item = TypeVar("Item")
AHEAD = 3  # batches prepared in advance
FOREIGN_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")  # modes of PIL images that PNG cannot hold


def prefetch(items: Iterable[Item], count: int = AHEAD) -> Iterator[Item]:
    """Yield `items` while a thread computes the next `count` of them."""
    source = iter(items)
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        waiting = [thread.submit(next, source, end) for _ in range(count)]
        while (item := waiting.pop(0).result()) is not end:
            waiting.append(thread.submit(next, source, end))
            yield item
        for rest in waiting:
            rest.cancel()


def in_batches(items: Sequence[Item], batch: int) -> Iterator[Sequence[Item]]:
    """Return the items in order, as lists of at most `batch`."""
    batch = check_count("batch", batch)
    starts = range(0, len(items), batch)
    return ([items[row] for row in range(start, min(start + batch, len(items)))] for start in starts)


def resized_batches(
    images: Sequence[Image], batch: int, view: View, read: Callable[[Image], NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    """Yield images as a network takes them, uint8 [at most `batch`, H, W, 3]; warn at the end of those wider than high.

    Args:
        images: The images.
        batch: Most images of a batch.
        view: What the network sees, and its input size.
        read: Returns an image's pixels.
    """
    wide: list[str] = []
    number = 0
    for part in in_batches(images, batch):
        pixels = read_all(read, part)
        for image, shown in zip(part, pixels, strict=True):
            number += 1
            if shown.shape[1] > shown.shape[0]:
                wide.append(str(image) if isinstance(image, str | Path) else f"number {number}")
        yield resize(pixels, view)
    warn_of_wide(wide, len(images))


def as_list(images: object) -> list[Any]:
    """Return one image or several as a list."""
    if isinstance(images, np.ndarray) and images.ndim != 4:
        images = [images]
    if isinstance(images, str | Path | bytes | bytearray | memoryview) or _is_pil(images):
        images = [images]
    if isinstance(images, Mapping | io.IOBase) or _is_tensor(images) or not isinstance(images, Iterable):
        raise _no_image(images)
    found = list(images)
    if not found:
        raise UserError("images to embed", expected="at least one", got="none", fix="Check the folder.")
    return found


def pixels_of(
    image: object,
    least: tuple[int, int] | None = None,
    name: str = "image",
    cut: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """Return any image as uint8 RGB [H, W, 3]: a path, encoded bytes, a PIL image, or such an array itself.

    Args:
        image: The image.
        least: Height and width that are needed, see `decode`.
        name: Its name in messages, if it is no path.
        cut: Returns the part that is wanted of the whole image; `least` is of no effect then.

    Raises:
        UserError: It is no image, or cannot be read.

    Example:
        >>> pixels_of(np.zeros((4, 2, 3), np.uint8), cut=lambda pixels: pixels[:2]).shape
        (2, 2, 3)
    """
    if _is_pil(image):
        content = io.BytesIO()
        if image.mode in FOREIGN_COLOURS:  # type: ignore[attr-defined]
            image = image.convert("RGB")  # type: ignore[attr-defined]
        try:
            image.save(content, "PNG")  # type: ignore[attr-defined]  # decoded like any file, with the same colours
        except OSError as error:
            raise _no_image(image) from error
        image = content.getvalue()
    if isinstance(image, bytearray | memoryview):
        image = bytes(image)
    if isinstance(image, str | Path | bytes):
        image = Path(image) if isinstance(image, str) else image
        return decode(image, name, least=least) if cut is None else decode(image, name, cut=cut)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
        raise _no_image(image)
    return image if cut is None else cut(image)


def _is_pil(image: object) -> bool:
    return type(image).__module__.partition(".")[0] == "PIL" and hasattr(image, "save")


def _is_tensor(image: object) -> bool:
    return type(image).__module__.partition(".")[0] == "torch" and hasattr(image, "shape")


def _no_image(image: Any) -> UserError:  # noqa: ANN401 - anything
    mode = f" of mode {image.mode}" if _is_pil(image) else ""
    shape = (
        f" of {image.dtype}, shape {list(image.shape)}" if isinstance(image, np.ndarray) or _is_tensor(image) else mode
    )
    return UserError(
        "images to embed",
        expected="files, encoded bytes, PIL images, or uint8 RGB arrays [height, width, 3]",
        got=f"{type(image).__name__}{shape}",
        fix="Pass one image or a list of them, a file's content as file.read(); turn a tensor [3, H, W] of 0 to 1 into "
        "(255 * tensor).byte().permute(1, 2, 0).numpy().",
    )
