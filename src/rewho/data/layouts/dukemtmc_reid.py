"""DukeMTMC-reID in Market-1501's folders, for those who hold it; never downloaded, and read with a notice."""

from __future__ import annotations

from pathlib import Path

from rewho.data.market_folders import Style, read_market_folders
from rewho.data.published_counts import Counts
from rewho.data.table import ImageTable
from rewho.settings import DataSettings

PUBLISHED = {"dukemtmc-reid": Counts(16_522, 702, 2_228, 17_661)}
WITHDRAWN = (
    "DukeMTMC-reID was withdrawn by its authors in 2019, because people were recorded without their consent. "
    "It is read here only where you already hold it; prefer Market-1501, CUHK03-NP or MSMT17 for new work."
)

_STYLE = Style("0001_c2_f0046182.jpg", r"\d+_c\d+_f\d+")


def recognise(root: Path) -> str:
    """Return the reason for this layout: Market-1501's folders with a frame number in file names."""
    return _STYLE.recognise(root)


def read(settings: DataSettings) -> ImageTable:
    """Read the three folders, and add the notice."""
    return read_market_folders("dukemtmc-reid", settings.root, _STYLE).with_notes(WITHDRAWN)
