"""Writes the description of a crop set: statistics, data sheet, contact sheet and HTML page.

The files have no dates, so that equal crops give equal bytes; the dates stand in `manifest.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewho.core.artifact import hash_file, plain, write_file, write_json
from rewho.core.check import UserError
from rewho.core.text import quantity
from rewho.crops.set_page import EXPLAINED, TERMS, build_page
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.sheet import draw_contact_sheet, draw_track_sheet
from rewho.crops.statistics import VIDEOS, compute_statistics, utf_8, write_videos
from rewho.crops.suppression import COUNT, FORGOTTEN, read_suppressed
from rewho.crops.tracks import read_tracks
from rewho.crops.writer import ShardWriter, encode
from rewho.settings import CropSettings

STATISTICS, DATA_SHEET, SHEET, PAGE = "statistics.json", "datasheet.md", "contact-sheet.jpg", "index.html"
SETTINGS = ("sampling", "screen", "rules", "tracking", "selection")  # those that the index tells


def write_report(
    out: Path, writer: ShardWriter, records: Sequence[dict[str, Any]], settings: CropSettings
) -> tuple[list[Path], dict[str, Any]]:
    """Commit a set's shards and write its description; return the files except the shards, and the statistics."""
    videos = write_videos(out, records)
    about = {
        "made_by": "rewho crop",
        "encoding": f"jpeg, quality {settings.jpeg_quality}, 4:4:4" if settings.encoding == "jpeg" else "png",
        "faces_hidden": settings.blur_stored,
        "terms": {name: value for name, value in plain(settings.terms).items() if name != "file"},
        "settings": {
            name: plain(getattr(settings, name)) for name in ("sampling", "screen", "rules", "tracking", "selection")
        },
        "videos": {"file": VIDEOS, "sha256": hash_file(videos)},
    }
    forgotten = read_suppressed(out)
    crops = writer.commit(about | ({COUNT: len(forgotten)} if forgotten else {}))
    figures = compute_statistics(crops, records)
    lists = [videos, out / INDEX, *([out / FORGOTTEN] if forgotten else [])]
    return [*lists, *write_description(crops, records, figures)], figures


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
    linked = draw_track_sheet(crops, read_tracks(crops))
    tracks = b"" if linked is None else encode(linked, quality=85)
    data_sheet = utf_8(build_data_sheet(terms, figures, about)).encode()
    explained = sorted(file.name for file in (out / EXPLAINED).glob("*.jpg"))
    page = utf_8(build_page(terms, figures, records, image, explained, _list_of_videos(about), tracks)).encode()
    return [
        write_json(out / STATISTICS, figures),
        write_file(out / DATA_SHEET, lambda file: file.write(data_sheet)),
        write_file(out / SHEET, lambda file: file.write(image)),
        write_file(out / PAGE, lambda file: file.write(page)),
    ]


def _list_of_videos(about: Mapping[str, Any]) -> str:
    """Return the name of the file that lists the videos; an erasure writes another."""
    return str((about.get("videos") or {}).get("file", VIDEOS))


def build_data_sheet(terms: Mapping[str, str], figures: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Return the data sheet as Markdown, after "Datasheets for Datasets" (Gebru et al., 2021)."""
    made = f"{quantity(figures['crops'], 'crops')} from {quantity(figures['scenes'], 'videos')}"
    persons = f"{made}, by estimate {quantity(figures['persons'], 'people')}"
    listed = _list_of_videos(about)
    rules = ", ".join(f"{name} {value}" for name, value in sorted(about["settings"]["rules"].items()))
    stored = "are not hidden in the stored crops; exports hide them by default"
    faces = "are hidden" if about.get("faces_hidden") else stored
    states = ", ".join(f"{count:,} {status}" for status, count in figures["videos"].items())
    licences = ", ".join(f"{name} ({quantity(count, 'videos')})" for name, count in figures["licences"].items())
    sections = {
        "Motivation": f"Purpose: {terms['purpose']}.",
        "Composition": f"Images of people, cut out of video: {persons}. No names, no identity labels. Faces {faces}.",
        "Source": f"{terms['source']}. Videos: {states}.",
        "Collection": f"The manifest has a row for every crop, {listed} the refusals of every video. Rules: {rules}.",
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
