"""Which videos are refused as a whole, and why (LUPerson section 3.1): duplicates, too short, still images, VR, HDR.

What is unusual: everything is judged from a `Probe`, so that the rules are pure and a video is opened once. Only
duplicates need to know what came before; whoever goes through videos in a fixed order keeps one `DuplicateFilter`.
"""

from __future__ import annotations

import re
from pathlib import Path

from rewho.settings import ScreenSettings
from rewho.video.people import Probe

SCREEN_REASONS = ("duplicate content", "duplicate key", "too few frames", "static", "VR", "HDR")
"""Reasons of this module; those of unreadable videos are `REASONS` in `people.py`."""


class DuplicateFilter:
    """Contents and keys of the videos that came before; give it videos in the same order to get the same verdicts.

    Example:
        >>> seen = DuplicateFilter()
        >>> seen.refuse("aa11", "key-1"), seen.refuse("aa11", "key-2"), seen.refuse("bb22", "key-1")
        ('', 'duplicate content', 'duplicate key')
    """

    def __init__(self, settings: ScreenSettings | None = None) -> None:
        self._settings = settings or ScreenSettings()
        self._hashes: set[str] = set()
        self._keys: set[str] = set()

    def refuse(self, sha256: str, key: str = "") -> str:
        """Return why a video is a duplicate, or an empty text; in that case it is remembered.

        Args:
            sha256: Hash of the content; empty counts as unlike any other.
            key: What names the video at its source, such as a platform's id; empty counts as unlike any other.
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
        probe: What is known of it.
        settings: The thresholds.
        name: File name or title, in which words may tell VR.

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
    """Return whether a video is VR or a panorama: by its metadata, by words in its name, or by its seam.

    Example:
        >>> is_vr(Probe("ok", "", 500, 20.0, 1920, 960, 25.0, "aa11"), ScreenSettings(), "tour 360° VR.mp4")
        True
    """
    text = re.sub(r"[\W_]+", " ", f" {Path(name).stem} {probe.title} ".replace("°", " degree ").lower())
    named = any(f" {word.lower()} " in text for word in settings.vr_words)
    return bool(probe.marks or named or probe.seam <= settings.vr_seam)
