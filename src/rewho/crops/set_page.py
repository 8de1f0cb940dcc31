"""The HTML page of a crop set: what is in it, where it comes from, and why the other boxes were left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rewho.core.text import quantity
from rewho.crops.statistics import VIDEOS
from rewho.report import html_page as html

TERMS = ("source", "licence", "purpose", "legal_basis", "contact", "retention")
LISTED = 200  # videos and links on the page; the folder has all
EXPLAINED = "explained"  # folder of frames with all boxes and reasons
MEASURES = {
    "height": ("height, pixels", "{:,.0f}"),
    "width": ("width, pixels", "{:,.0f}"),
    "confidence": ("detector's confidence, 0 to 1", "{:.2f}"),
    "quality": ("quality, 0 to 1", "{:.2f}"),
    "crops_per_video": ("crops per video", "{:,.0f}"),
}
RULES = {
    "ratio_not_above": "too wide for a standing person: at most {} times as high as wide",
    "ratio_not_below": "too narrow: at least {} times as high as wide",
    "confidence_not_above": "detector not sure enough: confidence {} or less",
    "width_not_above": "too small: {} pixels wide or less",
    "side_gap_below": "cut by the frame's left or right border: less than {} pixels from it",
    "head_not_visible": "head not visible",
    "upper_body_not_visible": "upper body not visible",
    "lower_body_not_visible": "lower body not visible",
    "no_keypoints": "no keypoints found",
}
STATUS = {"ok": "used", "refused": "refused", "failed": "could not be read", "given up": "ended its process twice"}
HEADER = ("Video", "Length", "Outcome", "Reason", "Frames used", "Boxes kept", "Crops", "People, by estimate")


def describe_rule(name: str) -> str:
    """Return a rule of `video.rules` in words; an unknown name with spaces for underscores.

    Example:
        >>> describe_rule("width_not_above_48"), describe_rule("head_not_visible")
        ('too small: 48 pixels wide or less', 'head not visible')
    """
    found = re.fullmatch(r"(.+?)(?:_([0-9][0-9.e+-]*))?", name)
    rule, value = found.groups() if found else (name, None)
    return RULES.get(rule, rule.replace("_", " ") + (" {}" if value else "")).format(value)


def describe_duration(seconds: float) -> str:
    """Return a duration as people say it.

    Example:
        >>> [describe_duration(seconds) for seconds in (0, 0.4, 12, 90, 3600, 7384)]
        ['0 s', '0.4 s', '12 s', '1 min 30 s', '1 h', '2 h 3 min']
    """
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def build_page(
    terms: Mapping[str, str],
    figures: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    contact_sheet: bytes,
    explained: Sequence[str] = (),
    listed: str = VIDEOS,
    track_sheet: bytes = b"",
) -> str:
    """Return the crop set's HTML page.

    Args:
        terms: Name and terms of the set.
        figures: What `compute_statistics` returned.
        records: The list of videos.
        contact_sheet: A JPEG file; faces must be hidden in it.
        explained: Names of the files in `explained/`.
        listed: Name of the file that lists the videos.
        track_sheet: A JPEG file with a track per row, faces hidden; empty where no crops are linked.
    """
    seconds = sum(float(video["duration"]) for video in records if video["status"] == "ok")
    tiles = {"crops": f"{figures['crops']:,}", "videos": f"{figures['scenes']:,}"}
    tiles |= {"people, by estimate": f"{figures['persons']:,}", "length of all videos": describe_duration(seconds)}
    parts = [
        html.tiles("".join(html.tile(name, value) for name, value in tiles.items())),
        html.heading("The crops"),
        _sheet(figures, contact_sheet),
        _card("Size and quality", _measures(figures)),
        html.heading("How they were chosen"),
        html.pair(_chosen(figures)),
        html.card("Tracks", _tracks(figures["tracks"])),
        _track_sheet(track_sheet),
        _explained(explained, records),
        html.heading("Where they come from"),
        html.card("Terms", _terms(terms)),
        html.pair("".join(_counts(figures, name) for name in ("cities", "resolutions", "licences"))),
        _videos(records, listed),
    ]
    return html.build_page(terms["name"], "".join(parts), lead=_lead(figures, seconds))


def _terms(terms: Mapping[str, str]) -> str:
    return html.table([(name.replace("_", " ").capitalize(), terms[name]) for name in TERMS], label="Terms")


def _lead(figures: Mapping[str, Any], seconds: float) -> str:
    videos = quantity(figures["scenes"], "videos")
    if not figures["crops"]:
        return f"No crop of a person was kept from {videos}, {describe_duration(seconds)} long."
    return f"{quantity(figures['crops'], 'crops')} of people from {videos}, {describe_duration(seconds)} long in all."


def _card(title: str, body: str) -> str:
    """Return a card, nothing for an empty one."""
    return html.card(title, body) if body else ""


def _sheet(figures: Mapping[str, Any], contact_sheet: bytes) -> str:
    if not figures["crops"]:
        return ""
    words = "Crops spread evenly over the set. Heads are hidden where keypoints show them."
    return html.figure("", _wide(contact_sheet, "Crops"), words)


def _track_sheet(sheet: bytes) -> str:
    if not sheet:
        return ""
    words = (
        "Each row is a track, from its first crop to its last. More than one person in a row is a mistake of the links."
    )
    return html.figure("Some tracks", _wide(sheet, "Tracks"), words)


def _wide(sheet: bytes, name: str) -> str:
    """Return an image that scrolls where it is wider than the page."""
    image = html.image("jpeg", sheet, f"{name}, faces hidden", 'class="sheet"')
    return f'<div class="wide" tabindex="0" role="group" aria-label="{name}">{image}</div>'


def _measures(figures: Mapping[str, Any]) -> str:
    known = {name: figures[name] for name in MEASURES if figures[name]}
    if not known or not figures["crops"]:
        return ""
    rows = [
        [MEASURES[name][0], *(MEASURES[name][1].format(value) for value in shares.values())]
        for name, shares in known.items()
    ]
    header = ["", *next(iter(known.values()))]
    mean, std = (", ".join(f"{value:.3f}" for value in figures[name]) for name in ("mean", "std"))
    colours = f"Red, green and blue, 0 to 1: mean {mean}; standard deviation {std}."
    return html.table(rows, header, label="Size and quality") + html.paragraph(colours)


def _chosen(figures: Mapping[str, Any]) -> str:
    path = [
        ("frames looked at", figures["frames_looked_at"]),
        ("boxes found", figures["detections"]),
        ("boxes that the rules keep", figures["kept_by_the_rules"]),
        ("crops in the set", figures["crops"]),
    ]
    dropped = sorted(((describe_rule(name), count) for name, count in figures["dropped_by_rule"].items() if count),
                     key=lambda row: -row[1])  # fmt: skip
    note = html.paragraph("A box counts under every rule that left it out.")
    return html.card("From frames to crops", html.table(path, label="From frames to crops")) + _card(
        "Why boxes were left out", note + html.table(dropped, label="Why boxes were left out") if dropped else ""
    )


def _tracks(figures: Mapping[str, Any]) -> str:
    """Return the counts and lengths of tracks as tables, or why there are none."""
    apart = figures["frames_too_far_apart"]
    lost = f"{apart:,} frames are farther than --tracking.gap from both of their neighbours." if apart else ""
    if not figures["tracks"]:
        return html.paragraph(f"No crop has a track; see --tracking.kind of `rewho crop`. {lost}".strip())
    counts = [
        ("tracks: crops of one person in neighbouring frames", figures["tracks"]),
        ("of several crops", figures["of_several_crops"]),
        ("crops without a track", figures["crops_without"]),
    ]
    lengths = [
        ["crops per track", *(f"{value:,.0f}" for value in figures["crops_per_track"].values())],
        ["length of a track", *map(describe_duration, figures["seconds_per_track"].values())],
    ]
    header = ["", *figures["crops_per_track"]]
    return (
        (html.paragraph(lost) if lost else "")
        + html.table(counts, label="Tracks")
        + html.table(lengths, header, label="Length of the tracks")
    )


def _explained(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> str:
    """Return links to frames with all boxes; a file is named by its video's id and the number of the frame."""
    if not names:
        return ""
    more = html.paragraph(f"and {len(names) - LISTED:,} more in {EXPLAINED}/") if len(names) > LISTED else ""
    words = "Frames with all boxes: green was kept, red was left out for the reasons beside it. Faces are hidden."
    videos = {video["sha256"][:12]: video["path"] for video in records}
    links = html.links((f"{EXPLAINED}/{name}", _frame(name, videos)) for name in names[:LISTED])
    return html.card("Look at the decisions", html.paragraph(words) + links + more)


def _frame(name: str, videos: Mapping[str, str]) -> str:
    video, _, number = name.removesuffix(".jpg").partition("-")
    return f"{videos[video]}, frame {int(number):,}" if video in videos and number.isdecimal() else name


def _counts(figures: Mapping[str, Any], name: str) -> str:
    titles = {"cities": "Cities", "resolutions": "Resolutions of the videos", "licences": "Licences"}
    counts: Mapping[str, int] = figures[name]
    return _card(titles[name], html.table(counts.items(), ("", "Videos"), label=titles[name]) if counts else "")


def _videos(records: Sequence[Mapping[str, Any]], listed: str) -> str:
    if not records:
        return ""
    rows = html.table(map(_video, records[:LISTED]), HEADER, label="Videos")
    more = html.paragraph(f"and {len(records) - LISTED:,} more in {listed}") if len(records) > LISTED else ""
    return html.card("Videos, one by one", rows + more)


def _video(video: Mapping[str, Any]) -> Sequence[object]:
    duration = float(video["duration"])
    return (
        video["path"],
        describe_duration(duration) if duration > 0 else "–",
        STATUS.get(video["status"], video["status"]),
        video["reason"] or "–",
        *(video[name] for name in ("looked", "kept", "crops", "persons")),
    )
