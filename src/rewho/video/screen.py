"""Which videos are refused as a whole, and why (LUPerson section 3.1): duplicates, too short, still images, VR, HDR.

What is unusual: the rules read a `Probe` only, so they are pure functions and a video is opened once. Only duplicates
depend on earlier videos: go through the videos in a fixed order with one `DuplicateFilter`.
"""

from __future__ import annotations

import re
from pathlib import Path

from rewho.settings import ScreenSettings
from rewho.video.people import Probe

SCREEN_REASONS = ("duplicate content", "duplicate key", "too few frames", "static", "VR", "HDR")
"""Reasons of this module; those of unreadable videos are `REASONS` in `people.py`."""


class DuplicateFilter:
    """Finds videos with the content or the key of an earlier one; the result depends on their order.

    Example:
        >>> seen = DuplicateFilter()
        >>> seen.check("aa11", "key-1"), seen.check("aa11", "key-2"), seen.check("bb22", "key-1")
        ('', 'duplicate content', 'duplicate key')
    """

    def __init__(self, settings: ScreenSettings | None = None) -> None:
        self._settings = settings or ScreenSettings()
        self._hashes: set[str] = set()
        self._keys: set[str] = set()

    def check(self, sha256: str, key: str = "") -> str:
        """Return why a video is a duplicate, or an empty text; then remember it.

        Args:
            sha256: Hash of the content; empty equals no other.
            key: The video's id at its source, such as a platform; empty equals no other.
        """
        if self._settings.duplicates_by_content and sha256 in self._hashes:
            return "duplicate content"
        if self._settings.duplicates_by_key and key in self._keys:
            return "duplicate key"
        self._hashes |= {sha256} - {""}
        self._keys |= {key} - {""}
        return ""


def screen_video(probe: Probe, settings: ScreenSettings | None = None, name: str = "") -> str:
    """Return why a video is refused, or an empty text.

    Args:
        probe: From `frames.probe`.
        settings: The thresholds.
        name: File name, whose words may mark VR.

    Example:
        >>> screen_video(Probe("ok", "", 99, 3.3, 640, 360, 30.0, "aa11"))
        'too few frames'
    """
    settings = settings or ScreenSettings()
    if probe.status != "ok" and not (settings.allow_cut and probe.reason == "cut short" and probe.frames):
        return probe.reason
    if probe.frames < settings.min_frames:
        return "too few frames"
    if settings.static_frames and probe.stillness <= settings.static_difference:  # NaN: not compared
        return "static"
    if settings.refuse_vr and is_vr(probe, settings, name):
        return "VR"
    if settings.refuse_hdr and "HDR" in probe.changes:
        return "HDR"
    return ""


def is_vr(probe: Probe, settings: ScreenSettings, name: str = "") -> bool:
    """Return whether a video is VR or a panorama: by its metadata, by words in its name, or by its seam."""
    text = re.sub(r"[\W_]+", " ", f" {Path(name).stem} {probe.title} ".replace("°", " degree ").lower())
    named = any(f" {word.lower()} " in text for word in settings.vr_words)
    return bool(probe.marks or named or probe.seam <= settings.vr_seam)
