"""CUHK03-NP: CUHK03 in Market-1501's folders, with the new protocol (Zhong et al., CVPR 2017, k-reciprocal re-ranking).

It comes twice, with boxes from a detector and with boxes drawn by hand; papers confuse the two.
"""

from __future__ import annotations

from pathlib import Path

from rewho.core.check import UserError
from rewho.data.market_folders import Style, has_market_folders, read_market_folders
from rewho.data.published_counts import Counts
from rewho.data.table import ImageTable
from rewho.settings import DataSettings

PUBLISHED = {
    "cuhk03-np-labeled": Counts(7_368, 767, 1_400, 5_328),
    "cuhk03-np-detected": Counts(7_365, 767, 1_400, 5_332),
}
BOXES = ("detected", "labeled")

_STYLE = Style("0001_c1_01.png", r"\d{4}_c[12]_\d{1,2}\.")


def recognise(root: Path) -> str:
    """Return the reason for this layout: CUHK03's file names, or a folder `detected/` or `labeled/`."""
    there = [boxes for boxes in BOXES if has_market_folders(root / boxes)]
    return _STYLE.recognise(root) or (f"it has {there[0]}/ with Market-1501's folders" if there else "")


def read(settings: DataSettings) -> ImageTable:
    """Read the boxes of `--data.cuhk03_boxes` from `detected/`, from `labeled/`, or from the folder above."""
    boxes: str = settings.cuhk03_boxes
    root = settings.root
    if has_market_folders(root):
        boxes = root.name if root.name in BOXES else boxes
    else:
        there = [name for name in BOXES if has_market_folders(root / name)]
        if there and boxes not in there:
            got = f"only {there[0]}/"
            fix = f"Pass --data.cuhk03_boxes {there[0]}."
            raise UserError("--data.cuhk03_boxes", expected=f"a folder {boxes}/ in {root}", got=got, fix=fix)
        root = root / boxes if there else root
    return read_market_folders(f"cuhk03-np-{boxes}", root, _STYLE)
