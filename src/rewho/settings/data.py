"""Settings of labelled data sets and of augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Literal

from rewho.settings.fields import Mistake, Names, Processes, Range, Seed, Share, SomeShare, name_function

# One module per layout; listing their names imports none of them, which would load numpy.
_LAYOUT_MODULES = iter_modules([str(Path(__file__).parents[1] / "data" / "layouts")])
LAYOUTS = Names("auto", *sorted(module.name.replace("_", "-") for module in _LAYOUT_MODULES))
CuhkBoxes = Literal["detected", "labeled"]
ShareBy = Literal["identities", "images"]
EraseFill = Literal["mean", "noise"]
Gigabytes = Annotated[float, Range(0, 1_000_000)]
ERASE_NOTHING = "To erase nothing, pass {at}erase 0; else lower {at}erase_area_low too."


def check_interval(settings: object, low: str, high: str, fix: str = "Swap them.") -> Iterator[Mistake]:
    """Yield a mistake where the upper end of an interval lies below its lower end."""
    least = getattr(settings, low)
    if getattr(settings, high) < least:
        yield Mistake(high, f"at least {low}, which is {least:g}", fix)


@dataclass(frozen=True)
class DataSettings:
    """The labelled data set and how its images are loaded.

    Args:
        root: Folder of the data set, or a CSV file.
        image_root: For CSV files: folder below which the images lie, for lists with absolute paths; relative ones are
            then relative to it. Without it, paths are relative to the file's folder.
        layout: market1501, cuhk03-np, cuhk03-original, dukemtmc-reid, msmt17, folder or csv; `auto` detects it.
            MODULE:FUNCTION calls your own function, which gets these settings and returns an ImageTable.
        cuhk03_boxes: Bounding boxes of the original CUHK03 release: detected or labeled.
        cuhk03_protocol: The new protocol's .mat file, for the original CUHK03 release.
        person_pattern: For plain folders: regular expression with a group `person` and optionally a group `camera`,
            matched against file names. Without it every sub-folder is one person.
        train_with_val: MSMT17: train on train+val (32,621 images) instead of train alone (30,248 images).
        share: Fraction of the training set to keep, above 0, at most 1.
        share_by: identities (small-scale: some people, all their images) or images (few-shot: all people, few images).
        share_list: File that lists what to keep instead of a share: LUPerson's published lists of people (a number per
            line) or of images (`name; label; camera`).
        split_seed: Seed of the random choice of the share and of the identities held out.
        hold_out: Number of training identities to hold out as query and gallery, for data without a test part; 0 uses
            the data set's own test part.
        memory_gb: Memory in gigabytes for decoded images; images beyond it are decoded again each time.
        workers: Worker processes that prepare batches; 0 prepares them in the main process.
    """

    root: Path = Path("data")
    layout: Annotated[str | Callable[..., object], LAYOUTS] = "auto"
    cuhk03_boxes: CuhkBoxes = "detected"
    cuhk03_protocol: Path | None = None
    person_pattern: str | None = None
    train_with_val: bool = True
    share: SomeShare = 1.0
    share_by: ShareBy = "identities"
    share_list: Path | None = None
    split_seed: Seed = 1
    hold_out: Annotated[int, Range(0)] = 0
    memory_gb: Gigabytes = 4.0
    workers: Processes = 2
    image_root: Path | None = None

    def __post_init__(self) -> None:
        if callable(self.layout):
            object.__setattr__(self, "layout", name_function("layout", self.layout))

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.share_list is not None and self.share != 1:
            yield Mistake("share", "1, its default, beside share_list", "Omit {at}share or {at}share_list.")


@dataclass(frozen=True)
class AugmentSettings:
    """Augmentation of training images (FD table 2). The paper gives no strengths; these are ours.

    Args:
        flip: Probability of a horizontal flip.
        crop_padding: Padding in pixels around the resized image before a random crop of the input size; 0 is off.
        colour: Strength of brightness, contrast and saturation jitter: factors from 1 - colour to 1 + colour.
        rotation: Largest rotation in degrees, either way; 0 is off.
        erase: Probability of random erasing.
        erase_area_low: Smallest erased fraction of the image's area.
        erase_area_high: Largest erased fraction of the image's area.
        erase_aspect: Smallest height/width of the erased rectangle; the largest is its inverse.
        erase_fill: Fill of the erased rectangle: mean (the data set's mean colour) or noise (random pixels).
    """

    flip: Share = 0.5
    crop_padding: Annotated[int, Range(0, 1_000)] = 10
    colour: Share = 0.0
    rotation: Annotated[float, Range(0, 180)] = 0.0
    erase: Share = 0.5
    erase_area_low: Share = 0.02
    erase_area_high: Share = 0.4
    erase_aspect: Annotated[float, Range(0.001, 1)] = 0.3
    erase_fill: EraseFill = "mean"

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        yield from check_interval(self, "erase_area_low", "erase_area_high", ERASE_NOTHING)
