"""What a finished crop set says of itself: index, statistics, data sheet, contact sheet, and one page with all of it.

What is unusual: no dates, so that the same crops leave the same bytes; `manifest.json` has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewho.core.artifact import hash_file, plain, write_file, write_json
from rewho.core.check import UserError
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.sheet import contact_sheet
from rewho.crops.statistics import VIDEOS, compute_statistics, utf_8, write_videos
from rewho.crops.writer import ShardWriter, encode
from rewho.report import html_page as html
from rewho.settings import CropSettings

STATISTICS, DATA_SHEET, SHEET, PAGE = "statistics.json", "datasheet.md", "contact-sheet.jpg", "index.html"
LISTED = 200  # videos on the page; the rest stand in videos.parquet
TERM_NAMES = {
    "source": "Source",
    "licence": "Licence",
    "purpose": "Purpose",
    "legal_basis": "Legal basis",
    "contact": "Contact",
    "retention": "Retention",
}


def write_report(
    out: Path, writer: ShardWriter, records: Sequence[dict[str, Any]], settings: CropSettings
) -> tuple[list[Path], dict[str, Any]]:
    """Commit a set's shards and write what describes it.

    Returns:
        The files but for the shards, which the index names with their hashes; and the statistics.
    """
    videos = write_videos(out, records)
    deciding = {name: plain(getattr(settings, name)) for name in ("sampling", "screen", "rules", "selection")}
    about = {
        "made_by": "rewho crop",
        "encoding": f"jpeg, quality {settings.jpeg_quality}, 4:4:4" if settings.encoding == "jpeg" else "png",
        "faces_hidden": settings.blur_stored,
        "terms": plain(settings.terms),
        "settings": deciding,
        "videos": {"file": VIDEOS, "sha256": hash_file(videos)},
    }
    crops = writer.commit(about)
    figures = compute_statistics(crops, records)
    return [videos, out / INDEX, *write_description(crops, records, figures)], figures


def write_description(crops: CropSet, records: Sequence[dict[str, Any]], figures: Mapping[str, Any]) -> list[Path]:
    """Write statistics, data sheet, contact sheet and page of a set, from what is in it."""
    out, about = crops.folder, crops.contents.about
    try:
        terms = {name: str(about["terms"][name]) for name in ("name", *TERM_NAMES)}
        _ = {**about["settings"]["rules"]}, about["settings"]["selection"]["near_duplicates"], about["encoding"]
    except (KeyError, TypeError) as error:
        expected, got = "terms and settings, as `rewho crop` writes them", f"none, or not all: {error}"
        raise UserError(str(out / INDEX), expected=expected, got=got, fix="Make the set with `rewho crop`.") from error
    sheet_bytes = encode(contact_sheet(crops), quality=85)
    sheet = data_sheet(terms, figures, crops.contents.about)
    content = page(terms, figures, records, sheet_bytes)
    texts = {DATA_SHEET: utf_8(sheet).encode(), SHEET: sheet_bytes, PAGE: utf_8(content).encode()}
    written = [write_json(out / STATISTICS, figures)]
    return written + [_write(out / name, data) for name, data in texts.items()]


def _write(path: Path, data: bytes) -> Path:
    return write_file(path, lambda file: file.write(data))


def data_sheet(terms: Mapping[str, str], figures: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Return the data sheet as Markdown, after "Datasheets for Datasets" (Gebru et al., 2021), every section filled.

    Args:
        terms: The fields of `TermsSettings`.
        figures: The statistics.
        about: What the index says: encoding, settings, whether faces are hidden.
    """
    persons = f"{figures['crops']:,} crops from {figures['scenes']:,} videos, by estimate {figures['persons']:,} people"
    rules = ", ".join(f"{name} {value}" for name, value in sorted(about["settings"]["rules"].items()))
    faces = (
        "are hidden"
        if about.get("faces_hidden")
        else "are not hidden in the stored crops; exports hide them by default"
    )
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
        "Maintenance and contact": f"{terms['contact']}. Whoever is in these images can write there.",
    }
    body = "\n".join(f"\n## {title}\n\n{text}" for title, text in sections.items())
    return f"# {terms['name']}\n{body}\n"


def page(
    terms: Mapping[str, str], figures: Mapping[str, Any], records: Sequence[dict[str, Any]], sheet_bytes: bytes
) -> str:
    """Return the crop set's HTML page, which needs no network and runs no script."""
    tiles = {"crops": "crops", "scenes": "videos", "persons": "people, by estimate", "hours": "hours"}
    sheet = html.image("jpeg", sheet_bytes, "crops from the whole set, faces hidden", 'class="sheet"')
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
    cards = {
        "From frames to crops": path,
        "Refused boxes, by rule (a box counts under every rule that refused it)": figures["dropped_by_rule"].items(),
        "Videos": videos,
        **{name: figures[name].items() for name in ("cities", "resolutions", "licences") if figures[name]},
    }
    parts = [
        html.tiles("".join(html.tile(name, f"{figures[key]:,}") for key, name in tiles.items())),
        html.figure("", sheet, "Crops spread evenly over the set. Heads are hidden where keypoints say."),
        html.card("Terms", html.table((label, terms[name]) for name, label in TERM_NAMES.items())),
        html.pair("".join(html.card(title, html.table(found)) for title, found in cards.items())),
        html.card("Measures", html.table([("channel mean (RGB)", mean), ("channel standard deviation", std), *sizes])),
        html.card("Videos, one by one", listed + more),
    ]
    return html.build_page(terms["name"], "".join(parts), lead="Crops of people from video")
