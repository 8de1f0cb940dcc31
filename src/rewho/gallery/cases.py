"""Cases: sightings collected for a purpose, and their export as evidence: one zip with images, times and hashes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rewho.core.artifact import write_file
from rewho.core.check import UserError, check_count, check_text
from rewho.core.record import rewho_version
from rewho.core.signing import check_receipt
from rewho.core.text import csv_table
from rewho.gallery import audit, receipts
from rewho.gallery.database import Database
from rewho.gallery.inputs import show_time
from rewho.gallery.records import Actor
from rewho.gallery.views import check_visible, read_crops, read_sightings, view_thumbnail

COLUMNS = (
    *("image", "sha256", "sighting", "crop", "camera", "time", "box", "frame", "person", "source", "terms_licence"),
    *("original_name", "original_sha256", "note"),
)
LONGEST_NAME, LONGEST_TEXT = 200, 1000
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # zip files cannot hold none; the times of the images are in the table


class Case(NamedTuple):
    """A case with the number of its sightings that the user may see."""

    id: int
    name: str
    purpose: str
    opened: float
    who: str
    closed: float | None
    sightings: int


def open_case(database: Database, name: str, purpose: str, by: Actor) -> int:
    """Return the id of a case, which is new or has this name; a new one needs a purpose."""
    name = check_text("name of the case", name, LONGEST_NAME)
    with database.writing() as link:
        found = database.one("SELECT id FROM cases WHERE name = ?", (name,))
        if found and found[0] not in {one.id for one in list_cases(database, by)}:
            fix = "Choose another name."
            raise UserError(f"case {name}", expected="a free name, or a case of yours", got="another's", fix=fix)
        if found:
            return int(found[0])
        if not purpose.strip():
            fix = "Say why it is opened: with --purpose, or in its field."
            raise UserError(f"case {name}", expected="a purpose, because it is new", got="none", fix=fix)
        purpose = check_text("purpose", purpose, LONGEST_TEXT)
        values = (name, purpose, database.now(), by.who)
        made = link.execute("INSERT INTO cases (name, purpose, opened, who) VALUES (?, ?, ?, ?)", values).lastrowid
        assert made is not None
        audit.append(database, by.who, by.purpose or purpose, "open case", {}, cases=[made])
    return made


def collect(database: Database, case: int, sightings: Sequence[int], by: Actor, note: str = "") -> None:
    """Put sightings into a case."""
    note = check_text("note", note, LONGEST_TEXT, 0)
    with database.writing() as link:
        read_case(database, case, by)
        chosen = check_visible(database, sightings, by)
        for one in chosen:
            values = (case, one, note, database.now(), by.who)
            link.execute("INSERT OR REPLACE INTO case_sightings VALUES (?, ?, ?, ?, ?)", values)
        audit.append(database, by.who, by.purpose, "collect", {}, sightings=chosen, cases=[case])


def drop(database: Database, case: int, sightings: Sequence[int], by: Actor) -> None:
    """Take sightings out of a case."""
    with database.writing() as link:
        read_case(database, case, by)
        chosen = check_visible(database, sightings, by)
        for one in chosen:
            link.execute("DELETE FROM case_sightings WHERE case_id = ? AND sighting = ?", (case, one))
        audit.append(database, by.who, by.purpose, "drop", {}, sightings=chosen, cases=[case])


def list_cases(database: Database, by: Actor) -> list[Case]:
    """Return the cases, by id; to who does not see every camera only their own, and those with a sighting they see."""
    cases = database.rows("SELECT id, name, purpose, opened, who, closed FROM cases ORDER BY id")
    counts: dict[int, int] = {}
    query = "SELECT c.case_id, s.camera FROM case_sightings c JOIN sightings s ON s.id = c.sighting"
    for case, camera in database.rows(query):
        counts[case] = counts.get(case, 0) + by.sees(camera)
    found = [Case._make((*row, counts.get(row[0], 0))) for row in cases]
    return [one for one in found if by.cameras is None or one.sightings or one.who == by.who]


def read_case(database: Database, case: int, by: Actor) -> Case:
    """Return a case; raise a UserError if there is none."""
    case = check_count("case", case, 0)
    found = next((one for one in list_cases(database, by) if one.id == case), None)
    if found is None:
        fix = "`rewho gallery case GALLERY` lists them."
        raise UserError(f"case {case}", expected="a case of the gallery", got="no such case", fix=fix)
    return found


def case_sightings(database: Database, case: int, by: Actor) -> list[tuple[int, str]]:
    """Return the sightings of a case that the user may see, with their notes."""
    read_case(database, case, by)
    query = (
        "SELECT c.sighting, c.note, s.camera FROM case_sightings c JOIN sightings s ON s.id = c.sighting "
        "WHERE c.case_id = ? ORDER BY c.sighting"
    )
    return [(int(row[0]), str(row[1])) for row in database.rows(query, (case,)) if by.sees(row[2])]


def export_case(database: Database, case: int, out: Path, by: Actor) -> Path:
    """Write a case as a zip: images with hidden faces, a table of times and hashes, and a signed manifest.

    The export is in the audit before the file has its name.
    """
    if out.exists():
        raise UserError(f"--out {out}", expected="a new file", got="one that is there", fix="Choose another name.")
    about = read_case(database, case, by)
    files, rows = _collect_files(database, case, by)
    if not rows:
        fix = "Put sightings into it first."
        raise UserError(f"case {about.name}", expected="a case with sightings", got="an empty one", fix=fix)
    files["evidence.csv"] = csv_table([COLUMNS, *rows])
    chosen = [one for one, _ in case_sightings(database, case, by)]
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    with database.writing():
        number = audit.append(
            database, by.who, by.purpose or about.purpose, "export", {"files": len(files)},
            sightings=chosen, cases=[case],
        )  # fmt: skip
        content = {
            "case": about.name,
            "purpose of the case": about.purpose,
            "purpose": by.purpose or about.purpose,
            "exported by": by.who,
            "exported at": show_time(database.now()),
            "audit": audit.head(database),
            "audit record": number,
            "model": database.read("model"),
            "rewho": rewho_version(),
            "faces": "hidden",
            "files": hashes,
            "words": "Each image shows a candidate, chosen by a person from a ranked list. It is no identification.",
        }
        signed = receipts.sign(database, content)
    files["manifest.json"] = json.dumps(signed, indent=1, ensure_ascii=False).encode()
    return write_file(out, lambda file: file.write(_zip(files)))


def _collect_files(database: Database, case: int, by: Actor) -> tuple[dict[str, bytes], list[list[object]]]:
    files: dict[str, bytes] = {}
    rows: list[list[object]] = []
    zones = dict(database.rows("SELECT name, zone FROM cameras"))
    sources = {row[0]: (row[1], json.loads(row[2])) for row in database.rows("SELECT id, path, terms FROM sources")}
    for number, note in case_sightings(database, case, by):
        sighting = read_sightings(database, [number])[number]
        path, terms = sources[sighting.source]
        for crop in read_crops(database, number):
            name, sha256 = "", ""
            if database.one("SELECT thumbnail IS NOT NULL FROM crops WHERE id = ?", (crop.id,))[0]:
                name = f"images/sighting-{number:06d}-crop-{crop.id:06d}.jpg"
                files[name] = view_thumbnail(database, crop.id, by, record=False)
                sha256 = hashlib.sha256(files[name]).hexdigest()
            box = "" if crop.box is None else " ".join(f"{side:g}" for side in crop.box)
            frame: object = "" if crop.number is None else crop.number
            seen = show_time(crop.time, zones.get(sighting.camera or "", "UTC"))
            found = [name, sha256, number, crop.id, sighting.camera or "", seen, box, frame]
            licence = crop.licence or terms.get("licence", "")
            rows.append([*found, sighting.name, path, licence, crop.name, crop.sha256, note])
    return files, rows


def _zip(files: dict[str, bytes]) -> bytes:
    """Return a zip file whose bytes depend on the contents only."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)
    return content.getvalue()


def check_export(file: Path, key: str = "") -> list[str]:
    """Return in words what of an exported zip is not as it was signed; nothing if all is."""
    with zipfile.ZipFile(file) as archive:
        signed: dict[str, Any] = json.loads(archive.read("manifest.json"))
        if not check_receipt(signed, key):
            return ["the manifest is not as it was signed"]
        hashes = signed["content"]["files"]
        there = set(archive.namelist()) - {"manifest.json"}
        wrong = [f"{name} is missing" for name in sorted(set(hashes) - there)]
        wrong += [f"{name} is not ours" for name in sorted(there - set(hashes))]
        for name in sorted(there & set(hashes)):
            if hashlib.sha256(archive.read(name)).hexdigest() != hashes[name]:
                wrong.append(f"{name} was changed")
    return wrong
