"""CUHK03 from the images of the original release, split by the new protocol's .mat file.

The .mat file counts from 1. It names images as most projects extract them from the release's container: pair of
cameras, person within the pair, view, number (`1_001_1_01.png`). Only the .mat file has a person's number in the whole
data set, and the camera (1 or 2).

Li et al., DeepReID, CVPR 2014 (images); Zhong et al., CVPR 2017 (protocol).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.data.file_lists import Row, check_folder, make_table, missing_files
from rewho.data.layouts import cuhk03_np
from rewho.data.table import ImageTable, first_three, leaves_root
from rewho.settings import DataSettings

PUBLISHED = cuhk03_np.PUBLISHED
PROTOCOL_FILE = "cuhk03_new_protocol_config_{boxes}.mat"
PROTOCOL_LIMIT = 16 * 2**20
"""Largest protocol file that is read, in bytes; the published ones have about 100,000."""

_INDEXES = {"train_idx": "train", "query_idx": "query", "gallery_idx": "gallery"}


def recognise(root: Path) -> str:
    """Return the reason for this layout: the release's folders of images, or the new protocol's file."""
    for boxes in cuhk03_np.BOXES:
        if (root / f"images_{boxes}").is_dir() or (root / PROTOCOL_FILE.format(boxes=boxes)).is_file():
            return f"it has images_{boxes}/ or the new protocol's file"
    return ""


def read(settings: DataSettings) -> ImageTable:
    """Read `images_detected/` or `images_labeled/` (or `detected/`, `labeled/`), split by the new protocol."""
    boxes = settings.cuhk03_boxes
    root = check_folder(settings.root)
    protocol = settings.cuhk03_protocol or _find_protocol(root, boxes)
    rows = _protocol_rows(protocol, _read_protocol(protocol))
    folder = _image_folder(root, boxes)
    rows = [row._replace(path=folder + row.path) for row in rows]
    missing = missing_files(root, [row.path for row in rows])
    if missing:
        got = f"{len(missing):,} missing: {first_three(missing)}"
        fix = f"Check that these are the {boxes} images (--data.cuhk03_boxes), and that all were unpacked."
        raise UserError(str(root / folder), expected=f"the {len(rows):,} images of {protocol.name}", got=got, fix=fix)
    return make_table(f"cuhk03-np-{boxes}", root, rows, [f"Split by {protocol.name}."])


def _find_protocol(root: Path, boxes: str) -> Path:
    """Return the protocol file in `root` or the folder above."""
    name = PROTOCOL_FILE.format(boxes=boxes)
    for folder in (root, root.parent):
        if (folder / name).is_file():
            return folder / name
    got = "no such file here or one folder above"
    fix = "Put it beside the images, or pass its path as --data.cuhk03_protocol."
    raise UserError(str(root), expected=f"the new protocol's file {name}", got=got, fix=fix)


def _image_folder(root: Path, boxes: str) -> str:
    for folder in (f"images_{boxes}/", f"{boxes}/"):
        if (root / folder).is_dir():
            return folder
    if root.name in (f"images_{boxes}", boxes):
        return ""
    packed = [name for name in ("cuhk-03.mat", "cuhk03_release/cuhk-03.mat") if (root / name).is_file()]
    raise UserError(
        str(root),
        expected=f"a folder images_{boxes}/ with images like 1_001_1_01.png",
        got=f"the packed release {packed[0]}" if packed else "no such folder",
        fix="Extract the images from cuhk-03.mat first (most re-ID projects write them to images_detected/ and "
        "images_labeled/).",
    )


def _read_protocol(file: Path) -> Mapping[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    wanted = [*_INDEXES, "labels", "camId", "filelist"]
    if not file.is_file() or file.stat().st_size > PROTOCOL_LIMIT:
        got = f"{file.stat().st_size:,} bytes" if file.is_file() else "no file there"
        raise UserError(str(file), expected="the new protocol's .mat file", got=got, fix="Check the path.")
    try:
        content: Mapping[str, Any] = loadmat(str(file), variable_names=wanted)
    except (ValueError, TypeError, LookupError, OSError, NotImplementedError, MatReadError) as error:
        expected = "a MATLAB file (version 5)"
        fix = "Download it again."
        raise UserError(str(file), expected=expected, got=str(error) or "a damaged file", fix=fix) from None
    lacking = [name for name in wanted if name not in content]
    if lacking:
        expected = f"the variables {', '.join(wanted)}"
        fix = "Use cuhk03_new_protocol_config_detected.mat or ..._labeled.mat."
        raise UserError(str(file), expected=expected, got=f"no {', '.join(lacking)}", fix=fix)
    return content


def _protocol_rows(file: Path, content: Mapping[str, Any]) -> list[Row]:
    names = [str(np.ravel(cell)[0]).strip() if np.size(cell) else "" for cell in np.ravel(content["filelist"])]
    people, cameras = _whole_numbers(file, content, "labels"), _whole_numbers(file, content, "camId")
    if not len(names) == len(people) == len(cameras) or any(leaves_root(name) for name in names):
        got = f"{len(names)} names, {len(people)} labels, {len(cameras)} cameras, or names that are no file names"
        fix = "Download the file again."
        raise UserError(str(file), expected="a file name, a label and a camera per image", got=got, fix=fix)
    rows = []
    for variable, split in _INDEXES.items():
        index = np.sort(_whole_numbers(file, content, variable)) - 1
        if index.size == 0 or index[0] < 0 or index[-1] >= len(names):
            got = f"{index[0] + 1} to {index[-1] + 1}" if index.size else "none"
            fix = "Download the file again."
            raise UserError(f"{file}: {variable}", expected=f"numbers from 1 to {len(names)}", got=got, fix=fix)
        rows += [Row(names[i], int(people[i]), int(cameras[i]) - 1, split) for i in index]
    return rows


def _whole_numbers(file: Path, content: Mapping[str, Any], variable: str) -> NDArray[np.int64]:
    values = np.ravel(content[variable])
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all() or (values != np.floor(values)).any():
        raise UserError(
            f"{file}: {variable}", expected="whole numbers", got=str(values.dtype), fix="Download it again."
        )
    return values.astype(np.int64)
