"""Market-1501: Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015."""

from __future__ import annotations

from pathlib import Path

from rewho.data.market_folders import Style, first_folder, read_market_folders
from rewho.data.published_counts import Counts
from rewho.data.table import ImageTable
from rewho.settings import DataSettings

PUBLISHED = {"market1501": Counts(12_936, 751, 3_368, 15_913)}

_STYLE = Style("0002_c1s1_000451_03.jpg", r"-?\d+_c\d+s\d+_")


def recognise(root: Path) -> str:
    """Return the reason for this layout: any data set in Market-1501's folders that no other layout recognised."""
    return _STYLE.recognise(root) or (f"it has {folder}/" if (folder := first_folder(root)) else "")


def read(settings: DataSettings) -> ImageTable:
    """Read `bounding_box_train`, `query` and `bounding_box_test`, with names like 0002_c1s1_000451_03.jpg."""
    return read_market_folders("market1501", settings.root, _STYLE)
