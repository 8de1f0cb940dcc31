"""Writes the description of a crop set: statistics, data sheet, contact sheet, and an HTML page with all of them.

The files have no dates, so that equal crops give equal bytes; the dates stand in `manifest.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewho.core.artifact import hash_file, plain, write_file, write_json
from rewho.core.check import UserError
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.sheet import draw_contact_sheet
from rewho.crops.statistics import VIDEOS, compute_statistics, utf_8, write_videos
from rewho.crops.writer import ShardWriter, encode
from rewho.report import html_page as html
from rewho.settings import CropSettings

STATISTICS, DATA_SHEET, SHEET, PAGE = "statistics.json", "datasheet.md", "contact-sheet.jpg", "index.html"
LISTED = 200  # videos on the page; videos.parquet has all
SETTINGS = ("sampling", "screen", "rules", "tracking", "selection")  # those that the index tells
TERMS = ("source", "licence", "purpose", "legal_basis", "contact", "retention")


def write_report(
    out: Path, writer: ShardWriter, records: Sequence[dict[str, Any]], settings: CropSettings
) -> tuple[list[Path], dict[str, Any]]:
    """Commit a set's shards and write its description; return the files except the shards, and the statistics."""
    videos = write_videos(out, records)
    about = {
        "made_by": "rewho crop",
        "encoding": f"jpeg, quality {settings.jpeg_quality}, 4:4:4" if settings.encoding == "jpeg" else "png",
        "faces_hidden": settings.blur_stored,
        "terms": plain(settings.terms),
        "settings": {
            name: plain(getattr(settings, name)) for name in ("sampling", "screen", "rules", "tracking", "selection")
        },
        "videos": {"file": VIDEOS, "sha256": hash_file(videos)},
    }
    crops = writer.commit(about)
    figures = compute_statistics(crops, records)
    return [videos, out / INDEX, *write_description(crops, records, figures)], figures


def write_description(crops: CropSet, records: Sequence[dict[str, Any]], figures: Mapping[str, Any]) -> list[Path]:
    """Write statistics, data sheet, contact sheet and HTML page of a set, and return the files."""
    out, about = crops.folder, crops.contents.about
    try:
        terms = {name: str(about["terms"][name]) for name in ("name", *TERMS)}
        # The data sheet needs these too: fail before a file is written.
        _ = {**about["settings"]["rules"]}, about["settings"]["selection"]["near_duplicates"], about["encoding"]
    except (KeyError, TypeError) as error:
        expected, got = "terms and settings, as `rewho crop` writes them", f"none, or not all: {error}"
        raise UserError(str(out / INDEX), expected=expected, got=got, fix="Make the set with `rewho crop`.") from error
    image = encode(draw_contact_sheet(crops), quality=85)
    data_sheet = utf_8(build_data_sheet(terms, figures, about)).encode()
    page = utf_8(build_page(terms, figures, records, image)).encode()
    return [
        write_json(out / STATISTICS, figures),
        write_file(out / DATA_SHEET, lambda file: file.write(data_sheet)),
        write_file(out / SHEET, lambda file: file.write(image)),
        write_file(out / PAGE, lambda file: file.write(page)),
    ]


def build_data_sheet(terms: Mapping[str, str], figures: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Return the data sheet as Markdown, after "Datasheets for Datasets" (Gebru et al., 2021)."""
    persons = f"{figures['crops']:,} crops from {figures['scenes']:,} videos, by estimate {figures['persons']:,} people"
    rules = ", ".join(f"{name} {value}" for name, value in sorted(about["settings"]["rules"].items()))
    stored = "are not hidden in the stored crops; exports hide them by default"
    faces = "are hidden" if about.get("faces_hidden") else stored
    states = ", ".join(f"{count:,} {status}" for status, count in figures["videos"].items())
    licences = ", ".join(f"{name} ({count:,} videos)" for name, count in figures["licences"].items())
    sections = {
        "Motivation": f"Purpose: {terms['purpose']}.",
        "Composition": f"Images of people, cut out of video: {persons}. No names, no identity labels. Faces {faces}.",
        "Source": f"{terms['source']}. Videos: {states}.",
        "Collection": f"The manifest has a row for every crop, {VIDEOS} the refusals of every video. Rules: {rules}.",
        "Preprocessing": f"Encoded as {about['encoding']}; near-duplicates: "
        f"{about['settings']['selection']['near_duplicates']}.",
        "Uses": f"For: {terms['purpose']}. Not for identifying people in life, nor for judging what they are like.",
        "Licence": f"{terms['licence']}. By video: {licences or terms['licence']}.",
        "Legal basis": f"{terms['legal_basis']}.",
        "Retention": f"{terms['retention']}.",
        "Maintenance and contact": f"{terms['contact']}. People in these images can write to this contact.",
    }
    body = "\n".join(f"\n## {title}\n\n{text}" for title, text in sections.items())
    return f"# {terms['name']}\n{body}\n"


def _describe_tracks(figures: Mapping[str, Any]) -> str:
    """Return the counts and lengths of tracks as a table, or why there are none."""
    apart = figures["frames_too_far_apart"]
    lost = [f"{apart:,} frames are farther than --tracking.gap from both of their neighbours."] if apart else []
    if not figures["tracks"]:
        return html.paragraph(" ".join(["No crop has a track; see --tracking.kind of `rewho crop`.", *lost]))
    rows = [(name.replace("_", " "), figures[name]) for name in ("tracks", "of_several_crops", "crops_without")]
    lengths = [
        (name.replace("_", " "), " · ".join(f"{share} {value:g}" for share, value in figures[name].items()))
        for name in ("crops_per_track", "seconds_per_track")
    ]
    return "".join(map(html.paragraph, lost)) + html.table([*rows, *lengths])


def build_page(
    terms: Mapping[str, str], figures: Mapping[str, Any], records: Sequence[dict[str, Any]], contact_sheet: bytes
) -> str:
    """Return the crop set's HTML page."""
    tiles = {"crops": "crops", "scenes": "videos", "persons": "people, by estimate", "hours": "hours"}
    sheet = html.image("jpeg", contact_sheet, "crops from the whole set, faces hidden", 'class="sheet"')
    mean, std = (" ".join(f"{value:.4f}" for value in figures[name]) for name in ("mean", "std"))
    sizes = [
        (name, " · ".join(f"{share} {value:g}" for share, value in figures[name].items()))
        for name in ("height", "width", "confidence", "quality", "crops_per_video")
    ]
    path = [(name.replace("_", " "), figures[name]) for name in ("frames_looked_at", "detections", "kept_by_the_rules")]
    videos = [*figures["videos"].items(), *((f"— {name}", count) for name, count in figures["reasons"].items())]
    rows = [(v["path"], v["status"], v["reason"], v["looked"], v["kept"], v["crops"], v["persons"]) for v in records]
    listed = html.table(rows[:LISTED], ("video", "status", "reason", "frames", "kept", "crops", "people"))
    more = html.paragraph(f"and {len(rows) - LISTED:,} more in {VIDEOS}") if len(rows) > LISTED else ""
    note = html.paragraph("A box counts under every rule that refused it.")
    cards = {
        "From frames to crops": html.table(path),
        "Refused boxes by rule": note + html.table(figures["dropped_by_rule"].items()),
        "Videos": html.table(videos),
        "Tracks": _describe_tracks(figures["tracks"]),
        **{name: html.table(figures[name].items()) for name in ("cities", "resolutions", "licences") if figures[name]},
    }
    parts = [
        html.tiles("".join(html.tile(name, f"{figures[key]:,}") for key, name in tiles.items())),
        html.figure("", sheet, "Crops spread evenly over the set. Heads are hidden where keypoints show them."),
        html.card("Terms", html.table((name.replace("_", " ").capitalize(), terms[name]) for name in TERMS)),
        html.pair("".join(html.card(title, body) for title, body in cards.items())),
        html.card("Measures", html.table([("channel mean (RGB)", mean), ("channel standard deviation", std), *sizes])),
        html.card("Videos, one by one", listed + more),
    ]
    return html.build_page(terms["name"], "".join(parts), lead="Crops of people from video")
