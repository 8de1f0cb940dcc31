"""Roughly how long a step of `rewho run` takes and how much disk it fills, from rates measured once.

All times are processor seconds of one core of the machine named in docs/guide/run.md. What was not measured has no
forecast: better none than a wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DECODE = 0.0028 / (1280 * 720)  # seconds per decoded pixel
DETECT = {"yolox-nano": 0.012, "hog": 0.12}  # seconds per frame
POSE = {"mediapipe-pose": 0.009}  # seconds per person
EMBED = 0.024 / (192 * 96)  # seconds per pixel of the starter's input, mirror image included
TRAIN = 0.037 * 2 / (256 * 128)  # seconds per pixel of an image and epoch: a SqueezeNet, forward and backward
SMALL = ("squeezenet1_1", "squeezenet1_1_in", "squeezenet1_0")
PEOPLE, KEPT = 3.0, 1.0  # assumed per frame that is looked at
CROP_BYTES, SIGHTING_BYTES, TRAINING_BYTES = 23_000, 6_300, 60_000_000


@dataclass(frozen=True)
class Facts:
    """What is known before anything is run.

    Args:
        videos: Number of videos.
        seconds: Their length in all.
        decoded: Pixels to decode in all.
        images: Number of images without labels that are there already.
        labelled: Number of labelled images to train on.
    """

    videos: int = 0
    seconds: float = 0.0
    decoded: float = 0.0
    images: int = 0
    labelled: int = 0


@dataclass(frozen=True)
class Forecast:
    """What a step takes.

    Args:
        seconds: Processor seconds of one core; None where nothing was measured.
        size: Bytes on disk.
    """

    seconds: float | None
    size: int

    def words(self) -> str:
        """Return time and size as text.

        Example:
            >>> Forecast(7_500, 3_000_000).words(), Forecast(None, 10).words()
            ('about 2.1 h of one core, 3 MB', 'no figure for its time, 0 MB')
        """
        if self.seconds is None:
            time = "no figure for its time"
        elif self.seconds >= 3600:
            time = f"about {self.seconds / 3600:.1f} h of one core"
        else:
            minutes = round(self.seconds / 60)
            time = f"about {minutes} min of one core" if minutes else "less than a minute of one core"
        return f"{time}, {self.size / 1e6:,.0f} MB"


def forecast(stage: str, values: Mapping[str, Any], facts: Facts) -> Forecast:
    """Return the forecast of a step.

    Args:
        stage: Its command.
        values: Its resolved settings by dotted name.
        facts: What there is to work on.
    """
    frames = facts.seconds / float(values.get("sampling.seconds", 0.5)) if stage == "crop" else 0.0
    crops = facts.images + int(KEPT * facts.seconds / 0.5)
    if stage == "crop":
        kinds = values.get("detector.kind"), values.get("pose.kind")
        known = kinds[0] in DETECT and (kinds[1] in POSE or kinds[1] == "none")
        each = DETECT.get(str(kinds[0]), 0.0) + PEOPLE * POSE.get(str(kinds[1]), 0.0)
        seconds = DECODE * facts.decoded + frames * each
        return Forecast(seconds if known else None, int(KEPT * frames * CROP_BYTES))
    if stage == "gallery":
        return Forecast(crops * EMBED * 192 * 96, crops * SIGHTING_BYTES)
    if stage in ("train", "adapt"):
        images = facts.labelled if stage == "train" else crops
        steps = values.get("steps_per_epoch")
        seen = int(steps) * int(values.get("sampler.batch", 64)) if steps else images
        size = values.get("model.input_size") or (256, 128)
        known = str(values.get("model.backbone")) in SMALL
        seconds = TRAIN * size[0] * size[1] * seen * int(values.get("epochs", 1))
        return Forecast(seconds if known else None, TRAINING_BYTES)
    if stage in ("pretrain", "teachers", "distill"):
        return Forecast(None, TRAINING_BYTES)
    return Forecast(None, 10_000_000)
