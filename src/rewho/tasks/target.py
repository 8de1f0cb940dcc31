"""The images that a model is adapted to, with their cameras, and the labelled source beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import digest
from rewho.core.check import UserError, is_file, rename_options
from rewho.core.people import UNKNOWN_CAMERA
from rewho.core.progress import say
from rewho.crops.photographs import camera_of, is_photograph
from rewho.crops.shards import CropSet
from rewho.crops.statistics import read_videos
from rewho.data.datasets import read_settings, recognise_benchmark
from rewho.data.file_lists import is_crop_set
from rewho.data.image_list import is_list, names_people
from rewho.data.name_patterns import are_cameras
from rewho.data.splits import training_rows
from rewho.data.table import ImageTable
from rewho.rank.grouping import Constraints
from rewho.settings import AdaptSettings, DataSettings
from rewho.tasks.labelled import select_training_part
from rewho.tasks.unlabelled import FileImages, ImageSource, JoinedImages, open_images


class Target(NamedTuple):
    """Images to adapt to.

    Attributes:
        images: The images, N of them.
        cameras: int64 [N], `UNKNOWN_CAMERA` where it is not known.
        identities: int64 [N], to watch the clusters by; None without labels.
        table: The data set with its test part; None where the images are no data set.
        name: Of the data set or folder.
        sha256: Digest of names, labels and contents.
        about: What `model.json` says about the images.
        known: What is certain about them, which no cluster breaks; None where nothing is.
    """

    images: JoinedImages
    cameras: NDArray[np.int64]
    identities: NDArray[np.int64] | None
    table: ImageTable | None
    name: str
    sha256: str
    about: Mapping[str, Any]
    known: Constraints | None = None

    @property
    def known_cameras(self) -> int:
        """How many cameras are known."""
        return len(np.unique(self.cameras[self.cameras != UNKNOWN_CAMERA]))


class Source(NamedTuple):
    """Labelled images to learn from as well: S classes, `labels` int64 from 0 of every image."""

    images: FileImages
    labels: NDArray[np.int64]
    cameras: NDArray[np.int64]
    name: str
    sha256: str

    @property
    def classes(self) -> int:
        """Number S of classes."""
        return int(self.labels.max()) + 1


def read_target(settings: AdaptSettings) -> Target:
    """Read the images to adapt to: a data set's training part, a crop set, or the images in a folder or a list."""
    root = settings.data.root.expanduser()
    if is_crop_set(root):
        return _without_labels(settings, root)
    if is_list(root) and settings.data.layout == "auto" and not names_people(root):
        return _without_labels(settings, root)
    labelled = settings.data.layout != "auto" or is_file(root) or recognise_benchmark(root) is not None
    return _data_set(settings) if labelled else _without_labels(settings, root)


def _data_set(settings: AdaptSettings) -> Target:
    table = read_settings(settings.data)
    part = table.rows(training_rows(table))
    cameras = part.camera_ids
    if settings.cameras != "auto":
        cameras = _other_cameras(settings, [Path(path).parts for path in part.paths])
    sha256 = digest([table.digest(), table.hash_contents()])
    files: ImageSource = FileImages(part.root, part.paths)
    about = {"name": table.name, "images": len(part), "rows_sha256": table.digest(), "labels_used": False}
    return Target(JoinedImages((files,), sha256), cameras, part.person_ids, table, table.name, sha256, about)


def _without_labels(settings: AdaptSettings, root: Path) -> Target:
    for name in ("hold_out", "person_pattern"):
        if getattr(settings.data, name) != getattr(DataSettings(), name):
            raise UserError(
                f"--data.{name}",
                expected="a data set, whose people are known",
                got=f"images without labels in {root}",
                fix=f"Leave it out; if sub-folders of {root} are people, pass --data.layout folder.",
            )
    with rename_options({"rewho pretrain": "rewho adapt"}):
        images = open_images([root])
    source = images.sources[0]
    if isinstance(source, CropSet):
        cameras = _by_video(source) if settings.cameras in ("auto", "video") else None
        if settings.cameras == "folder":
            raise _no_such_cameras("folder", root, "a crop set")
        cameras = np.full(len(source), UNKNOWN_CAMERA) if cameras is None else cameras
    else:
        assert isinstance(source, FileImages)
        by_list = settings.cameras == "auto" and any(source.cameras)
        cameras = (
            _named(source.cameras)
            if by_list
            else _other_cameras(settings, [Path(name).parts for name in source.names], root)
        )
    name, sha256 = root.resolve().name, images.digest
    if isinstance(source, FileImages) and any(source.cameras):  # the digest of a list is that of its images
        sha256 = digest([sha256, source.cameras])
    about = {"name": name, "images": len(images), "labels_used": False, "sources": images.about}
    return Target(images, cameras, None, None, name, sha256, about)


def _named(cameras: Sequence[str]) -> NDArray[np.int64]:
    """Return the camera of every image by its name; an empty one is unknown."""
    numbers = {name: number for number, name in enumerate(sorted({*cameras} - {""}))}
    return np.array([numbers.get(name, UNKNOWN_CAMERA) for name in cameras], np.int64)


def _by_video(crops: CropSet) -> NDArray[np.int64]:
    """Return the camera of every crop: its video, or the folder of its photograph."""
    videos = crops.manifest(["video"]).column("video").to_pylist()
    folders = {video["sha256"]: camera_of(video) for video in read_videos(crops.folder) if is_photograph(video["path"])}
    return np.unique([folders.get(video, video) for video in videos], return_inverse=True)[1].astype(np.int64)


def _other_cameras(
    settings: AdaptSettings, paths: list[tuple[str, ...]], root: Path | None = None
) -> NDArray[np.int64]:
    """Return cameras that the layout does not give: the sub-folders, or none."""
    place = root or settings.data.root
    if settings.cameras == "video":
        raise _no_such_cameras("video", place, "no crop set")
    if settings.cameras == "auto" and are_cameras(path[0] for path in paths if len(path) > 1):
        say("note: the sub-folders look like cameras, which are not used: pass --cameras folder")
    if settings.cameras != "folder":
        return np.full(len(paths), UNKNOWN_CAMERA, np.int64)
    if any(len(path) < 2 for path in paths):
        raise _no_such_cameras("folder", place, "images outside of sub-folders")
    return np.unique([path[0] for path in paths], return_inverse=True)[1].astype(np.int64)


def _no_such_cameras(kind: str, root: Path, got: str) -> UserError:
    expected = {"video": "a crop set, whose crops name their videos", "folder": "images in a sub-folder per camera"}
    return UserError(
        f"--cameras {kind}",
        expected=expected[kind],
        got=f"{got} at {root}",
        fix="Leave it out, or pass --cameras auto.",
    )


def read_source(settings: AdaptSettings, target: Target) -> Source | None:
    """Read the labelled data set to learn from; None without one."""
    if settings.source.root is None:
        return None
    with rename_options({"--data.root": "--source", "--data.": "--source."}):
        table = read_settings(settings.source)
        part = select_training_part(table)
    sha256 = digest([table.digest(), table.hash_contents()])
    if target.table is not None and sha256 == target.sha256:
        say(f"warning: the source is the target itself, {table.name}: its labels are trained on")
    return Source(FileImages(part.root, part.paths), part.labels(), part.camera_ids, table.name, sha256)


def join(target: Target, source: Source | None) -> JoinedImages:
    """Return the images of both, the target's first."""
    if source is None:
        return target.images
    return JoinedImages((*target.images.sources, source.images), f"{target.sha256} {source.sha256}")
