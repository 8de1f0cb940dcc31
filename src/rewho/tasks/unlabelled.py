"""Images without labels: folders, crop sets and training parts of data sets, joined into one source."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, permutations
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import digest, hash_contents, hash_file
from rewho.core.check import UserError, check_share, is_file, whole_share
from rewho.core.runtime import generator
from rewho.core.text import quantity
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.tracks import read_tracks
from rewho.data.datasets import read, recognise_benchmark
from rewho.data.file_lists import IMAGE_ENDINGS, check_folder, is_crop_set, list_images
from rewho.data.image_list import is_list, read_image_list
from rewho.data.images import Images, decode
from rewho.data.splits import training_rows
from rewho.data.tracks import NO_TRACK, ImageTracks, find_tracks

SMALLEST_DEVIATION = 1.0
"""Grey levels; images of one colour have none, and networks divide by it."""


class ImageSource(Protocol):
    """Images by row."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        """Return image `row`, uint8 RGB [H, W, 3]."""

    def name(self, row: int) -> str:
        """Return the name of image `row` for messages."""


class FileImages:
    """Image files, decoded at each access or, after `hold`, kept in memory.

    Their tracks and the names of their cameras ("" if unknown) are there where a list has them.
    """

    def __init__(
        self, root: Path, names: Sequence[str], tracks: ImageTracks | None = None, cameras: Sequence[str] = ()
    ) -> None:
        self.root, self.names, self.tracks, self.cameras = root, tuple(names), tracks, tuple(cameras)
        self._held, self._held_rows = Images([]), np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        place = int(np.searchsorted(self._held_rows, row))
        if place < len(self._held_rows) and self._held_rows[place] == row:
            return self._held[place]
        return decode(self.root / self.names[row])

    def name(self, row: int) -> str:
        """Return the file's path."""
        return str(self.root / self.names[row])

    def hold(
        self, rows: NDArray[np.int64], memory_gb: float, progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Decode images into memory if they fit; returns the bytes that they take, 0 where they do not fit."""
        held = Images([self.root / self.names[row] for row in rows], memory_gb, progress=progress)
        if held.in_memory:
            self._held, self._held_rows = held, rows
        return held.bytes


class EncodedImages:
    """Encoded images in memory, decoded at each access.

    Args:
        names: Of the images, for messages.
        data: Their bytes.
    """

    def __init__(self, names: Sequence[str], data: Sequence[bytes]) -> None:
        self._names, self._data = tuple(names), tuple(data)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        return decode(self._data[row], self._names[row])

    def name(self, row: int) -> str:
        """Return the name of image `row` for messages."""
        return self._names[row]


@dataclass(frozen=True)
class JoinedImages:
    """Several sources as one; `rows`, ascending over all sources, selects a share, None keeps all.

    `about` lists each source's name, kind, count, sha256 with what it covers, and licences of crops ("" if none).
    """

    sources: tuple[ImageSource, ...]
    digest: str
    rows: NDArray[np.int64] | None = None
    about: tuple[Mapping[str, Any], ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.sources)) if self.rows is None else len(self.rows)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(map(len, self.sources)))

    def _place(self, row: int) -> tuple[ImageSource, int]:
        row = int(self.rows[row]) if self.rows is not None else row
        number = bisect.bisect_right(self._ends, row)
        return self.sources[number], row - (self._ends[number - 1] if number else 0)

    def kept(self) -> Iterator[tuple[ImageSource, NDArray[np.int64]]]:
        """Yield each source with those of its rows that are kept, ascending."""
        begin = 0
        for source in self.sources:
            rows = np.arange(len(source))
            if self.rows is not None:
                first, last = np.searchsorted(self.rows, [begin, begin + len(source)])
                rows = self.rows[first:last] - begin
            yield source, rows
            begin += len(source)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        source, within = self._place(row)
        return source[within]

    def name(self, row: int) -> str:
        """Return the name of image `row` for messages."""
        source, within = self._place(row)
        return source.name(within)

    def tracks(self) -> ImageTracks:
        """Return the tracks of the images that are kept; tracks of different sources are different."""
        numbers, times, begin = [], [], 0
        for source, rows in self.kept():
            found = _tracks_of(source)
            numbers.append(np.where(found.numbers[rows] < 0, NO_TRACK, found.numbers[rows] + begin))
            times.append(found.times[rows])
            begin += int(found.numbers.max(initial=NO_TRACK)) + 1
        return ImageTracks(np.concatenate(numbers), np.concatenate(times))

    def summary(self) -> str:
        """Return the number of images in one line."""
        total = sum(map(len, self.sources))
        kept = "" if self.rows is None else f", {len(self.rows):,} of them kept"
        return f"{quantity(total, 'images')} without labels from {quantity(len(self.sources), 'sources')}{kept}"

    def share(self, share: float, seed: int) -> JoinedImages:
        """Return a random share; for the same seed a smaller share is a subset of a larger one."""
        check_share("--data.share", share)
        if share == 1:
            return self
        order = generator(seed, "share of crops").permutation(len(self))
        rows = np.sort(order[: max(1, whole_share(len(self), share))])
        return replace(self, digest=f"{self.digest}, share {share} of seed {seed}", rows=rows)


def _tracks_of(source: ImageSource) -> ImageTracks:
    if isinstance(source, CropSet):
        found = read_tracks(source)
        return ImageTracks(found.numbers, found.times)
    known = source.tracks if isinstance(source, FileImages) else None
    return known or ImageTracks(np.full(len(source), NO_TRACK, np.int64), np.zeros(len(source)))


def open_images(folders: Sequence[Path]) -> JoinedImages:
    """Open images as one source: crop sets, training parts of data sets, folders with sub-folders, or CSV lists.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.png").write_bytes(cv2.imencode(".png", np.zeros((4, 2, 3), np.uint8))[1].tobytes())
        ...     images = open_images([Path(folder)])
        ...     len(images), images[0].shape
        (1, (4, 2, 3))
    """
    if not folders:
        raise UserError(
            "--data",
            expected="one or more folders",
            got="none",
            fix="Call `rewho pretrain FOLDER`, with a folder of images.",
        )
    _check_not_nested(folders)
    opened = [_open(Path(folder).expanduser()) for folder in folders]
    digest = hashlib.sha256("\0".join(about["sha256"] for _, about in opened).encode()).hexdigest()
    about = tuple({"images": len(source), **known} for source, known in opened)
    return JoinedImages(tuple(source for source, _ in opened), digest, about=about)


class ImageSet(NamedTuple):
    """Images of a crop set or a folder, with a name for each and the digest of their contents."""

    images: Sequence[Path] | CropSet
    names: tuple[str, ...]
    sha256: str


def read_images(folder: Path) -> ImageSet:
    """Return the crops of a crop set, the images in a folder and below it, or one image."""
    if is_file(folder) and folder.suffix.lower() in IMAGE_ENDINGS:
        return ImageSet([folder], (folder.name,), digest([[folder.name], hash_contents([folder])]))
    if is_crop_set(folder):
        crops = CropSet.open(folder)
        return ImageSet(crops, tuple(crops.manifest(["name"]).column("name").to_pylist()), hash_file(folder / INDEX))
    names = list_images(folder)
    files = [folder / name for name in names]
    return ImageSet(files, names, digest([names, hash_contents(files)]))


def _check_not_nested(folders: Sequence[Path]) -> None:
    """Raise UserError if two folders are the same, or one lies in another: its images would count twice."""
    for outer, inner in permutations(folders, 2):
        if inner.expanduser().resolve().is_relative_to(outer.expanduser().resolve()):
            raise UserError(
                "--data",
                expected="every folder once, and none within another",
                got=f"{inner}, which is the same as {outer} or lies in it",
                fix=f"Leave out {inner}, whose images are read with {outer}.",
            )


def _open(folder: Path) -> tuple[ImageSource, dict[str, Any]]:
    """Return a source and its entry of `JoinedImages.about`."""
    if is_list(folder):
        return _open_list(folder)
    check_folder(folder, "Check the path, which is one of --data.")
    name = folder.resolve().name
    if (folder / INDEX).is_file():
        crops = CropSet.open(folder)
        if not len(crops):
            expected = "a crop set with images"
            fix = "Choose another; its page says why no crop was kept."
            raise UserError(f"--data {folder}", expected=expected, got="an empty one", fix=fix)
        columns = [crops.rows_of(shard, ["licence"]).column(0) for shard in crops.contents.shards]
        licences = sorted({licence for column in columns for licence in column.unique().to_pylist()})
        about = {"name": name, "kind": "crop set", "sha256": hash_file(folder / INDEX), "sha256_of": INDEX}
        return crops, {**about, "licences": licences}
    if recognise_benchmark(folder):
        table = read(folder)
        table = table.rows(training_rows(table))
        sha256 = digest([table.digest(), table.hash_contents()])
        about = {"name": table.name, "kind": "data set", "sha256": sha256, "sha256_of": "names, labels and contents"}
        return FileImages(table.root, table.paths, find_tracks(table.paths)), about
    _, names, sha256 = read_images(folder)
    about = {"name": name, "kind": "folder", "sha256": sha256, "sha256_of": "file names and contents"}
    return FileImages(folder, names), about


def _open_list(file: Path) -> tuple[ImageSource, dict[str, Any]]:
    paths, tracks, cameras = read_image_list(file)
    if not paths:
        fix = "Fill the list, or leave it out."
        raise UserError(f"--data {file}", expected="images to train on", got="none", fix=fix)
    contents = hash_contents([file.parent / path for path in paths])
    sha256 = digest([paths, tracks.numbers.tolist(), tracks.times.tolist(), contents])
    about = {"name": file.name, "kind": "list", "sha256": sha256, "sha256_of": "paths, tracks, times and contents"}
    return FileImages(file.parent, paths, tracks, cameras), about


def hold_in_memory(images: JoinedImages, memory_gb: float, progress: Callable[[int, int], None] | None = None) -> int:
    """Decode each source that fits into memory; return the bytes used. Crop sets are memory-mapped anyway."""
    taken = 0
    for source, rows in images.kept():
        if isinstance(source, FileImages):
            taken += source.hold(rows, max(0.0, memory_gb - taken / 1e9), progress)
    return taken


def count_files_of(images: JoinedImages, root: Path, names: Iterable[str]) -> int:
    """Return how many kept image files are among others, by their paths; copies and crops are not found.

    Example:
        >>> images = JoinedImages((FileImages(Path("all"), ("query/a.jpg", "b.jpg")),), "")
        >>> count_files_of(images, Path("all/query"), ["a.jpg", "b.jpg"])
        1
    """
    root = root.expanduser().resolve()
    others = {f"{root.as_posix()}/{name}" for name in names}
    count = 0
    for source, rows in images.kept():
        if isinstance(source, FileImages):
            own = source.root.expanduser().resolve()
            if own.is_relative_to(root) or root.is_relative_to(own):
                count += sum(f"{own.as_posix()}/{source.names[row]}" in others for row in rows)
    return count


def channel_statistics(
    images: JoinedImages, count: int, done: Callable[[int], None] = lambda count: None
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and standard deviation of red, green and blue, 0 to 1; each image has the same weight.

    `count` images are drawn at random, always the same; 0 uses all.

    Example:
        >>> black, white = np.zeros((2, 2, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)
        >>> class Two(FileImages):
        ...     def __getitem__(self, row): return (black, white)[row]
        >>> channel_statistics(JoinedImages((Two(Path("."), ("a", "b")),), ""), 0)
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    rows = np.arange(len(images))
    if 0 < count < len(rows):
        rows = np.sort(generator(0, "statistics").permutation(len(rows))[:count])

    def moments(row: int) -> NDArray[np.float64]:
        mean, deviation = cv2.meanStdDev(images[row])
        return np.concatenate([mean, mean**2 + deviation**2], axis=1)

    total = np.zeros((3, 2))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(rows), 256):
            step = rows[start : start + 256].tolist()
            total += sum(pool.map(moments, step))
            done(len(step))
    mean, square = total.T / len(rows)
    deviation = np.maximum(np.sqrt(np.maximum(square - mean**2, 0.0)), SMALLEST_DEVIATION)
    first, second = ((values / 255).round(4).tolist() for values in (mean, deviation))
    return (first[0], first[1], first[2]), (second[0], second[1], second[2])
