"""Settings of `rewho gallery`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.crops import TermsSettings
from rewho.settings.fields import Command, Device, Mistake, Only, Range

ACTIONS = {
    "create": "make a gallery with a copy of a model",
    "add": "add images, folders, CSV files, crop sets and videos",
    "search": "find the sightings that look most like a person",
    "judge": "say yes, no or skip to results, which refines the search",
    "group": "propose people across cameras; what somebody named, merged or split stays",
    "review": "list the pairs to compare that would tell most; with two sightings and --answer, answer one",
    "name": "name a person, or make one of sightings",
    "merge": "make several people one; with one, list those who look alike",
    "split": "make some sightings of a person a person of their own",
    "take-out": "let sightings belong to nobody",
    "undo": "undo a change of people; without one, list the changes",
    "timeline": "where and when a person was seen",
    "case": "collect sightings for a purpose; without a name, list the cases",
    "export": "write a case as a zip file of evidence",
    "hide": "take sightings out of results; `undo` shows them again",
    "withdraw": "remove embeddings and thumbnails, keep the records",
    "forget": "remove all of sightings, of a person or of a source, and prove it",
    "expire": "forget the sources whose retention has ended",
    "audit": "who searched, saw and exported what, and when",
    "verify": "read everything and list what is damaged or was changed",
    "calibrate": "measure what similarities mean here: thresholds with intervals, what searches miss",
    "model": "give it another model, by which everything is embedded again; without one, say which it has",
    "stats": "print counts, cameras and sources",
}
CHOOSING = ("name", "split", "take-out", "case", "hide", "withdraw", "forget", "audit", "search")


@dataclass(frozen=True)
class GallerySettings:
    """Settings of `rewho gallery`.

    Args:
        action: What to do.
        folder: The gallery's folder.
        items: add: what to add. search: images of one person. judge: number of the search. name, case: the name. merge:
            people. undo: the event. timeline: the person. export: the case. review: two sightings. model: its folder.
        model: Model folder, of which the gallery keeps a copy.
        precision: Of stored embeddings; float16 takes half the memory.
        store: Where vectors are searched: sqlite (in memory), milvus://HOST:19530, or milvus:FILE.db (Milvus Lite).
        terms: Terms of sources that bring none: given at create, or for one source at add. Crop sets bring their own.
        expires: Date, or time in ISO 8601, at which the added source is to be erased.
        camera: add: name of the camera of images that have none. search: camera of the image that is searched with.
        start: Time of the images, or of the first frame of videos, in ISO 8601.
        pattern: Regular expression with groups `camera` and perhaps `person`, searched in each image's path.
        videos: For crop sets and videos: CSV file with the columns video, camera, start.
        zone: Time zone of times that have none, and of new cameras, such as Europe/Berlin.
        crop_recipe: For videos: YAML file with settings of `rewho crop`, such as the detector.
        sightings: Numbers of sightings.
        crop: Number of a crop to search with.
        search: Number of an earlier search to continue.
        box: Left, top, right, bottom of the person in the image that is searched with, in pixels.
        count: Results, records or events.
        per: One result per sighting, or all crops.
        cameras: Search only these cameras.
        after: Only sightings from this time on, in ISO 8601.
        before: Only sightings before this time.
        sources: Only these sources, by number.
        people: Only these people, by number.
        cases: Only these cases, by number.
        new: Only sightings that you have not been shown for this query.
        page_after: Continue behind this similarity and number, as printed below a page of results.
        normalise: Compare relative to the cameras' means, where the query's camera has one.
        refine: Move the query by the judgements on it.
        limit: group, review: mean Jaccard distance up to which groups are united; less makes fewer mistakes, and more
            groups.
        answer: Whether the two sightings show one person: same, different or skip.
        basis: labels measures with named people, tracks without labels; auto takes labels where they suffice.
        seed: Seed of the cohort and of the resamples.
        yes: Sightings that show the person.
        no: Sightings that show somebody else; they never come back.
        skip: Sightings that cannot be judged.
        person: Number of a person.
        source: Number of a source.
        note: Note beside the sightings in the case.
        drop: Take the sightings out of the case instead.
        out: The zip file to write; for calibrate the DET curve, an SVG file; for withdraw, forget and expire a file
            for the signed receipts.
        by_action: Only records of this action.
        by_user: Only records of this user.
        head: Number and hash of the audit's last record, as noted down before.
        user: Who does it, for the audit; the system's user by default.
        purpose: Why, for the audit; required for a new case.
        json: Print JSON.
        device: Where images are embedded.
    """

    command = Command(
        "gallery",
        "search one's own footage, correct it, erase from it",
        "action folder items",
        ACTIONS,
        common="model sightings camera cameras after before count user purpose json",
        examples=(
            "gallery create shop --model runs/train",
            "gallery add shop images/door --camera door",
            "gallery search shop query.jpg --camera door",
        ),
        again=True,
        light=True,
        required="folder",
    )

    action: Literal[
        "create", "add", "search", "judge", "group", "review", "name", "merge", "split", "take-out", "undo",
        "timeline", "case", "export", "hide", "withdraw", "forget", "expire", "audit", "verify", "calibrate", "model",
        "stats",
    ] = "stats"  # fmt: skip
    folder: Path = Path("gallery")
    items: tuple[str, ...] = ()
    model: Annotated[Path, Only("create")] = Path("model")
    precision: Annotated[Literal["float16", "float32"], Only("create")] = "float16"
    store: Annotated[str, Only("create")] = "sqlite"
    terms: TermsSettings = field(default_factory=TermsSettings)
    expires: Annotated[str, Only("add")] = ""
    camera: Annotated[str, Only("add", "search")] = ""
    start: Annotated[str, Only("add", "search")] = ""
    pattern: Annotated[str, Only("add")] = ""
    videos: Annotated[Path | None, Only("add")] = None
    zone: Annotated[str, Only("add", "search")] = "UTC"
    crop_recipe: Annotated[Path | None, Only("add")] = None
    sightings: Annotated[tuple[int, ...], Range(1), Only(*CHOOSING)] = ()
    crop: Annotated[int | None, Range(1), Only("search")] = None
    search: Annotated[int | None, Range(1), Only("search")] = None
    box: Annotated[tuple[float, ...], Range(0), Only("search")] = ()
    count: Annotated[int, Range(1, 10_000), Only("search", "audit", "undo", "merge", "review")] = 20
    per: Annotated[Literal["sighting", "crop"], Only("search")] = "sighting"
    cameras: Annotated[tuple[str, ...], Only("search")] = ()
    after: Annotated[str, Only("search")] = ""
    before: Annotated[str, Only("search")] = ""
    sources: Annotated[tuple[int, ...], Range(1), Only("search")] = ()
    people: Annotated[tuple[int, ...], Range(1), Only("search")] = ()
    cases: Annotated[tuple[int, ...], Range(1), Only("search")] = ()
    new: Annotated[bool, Only("search")] = False
    page_after: Annotated[tuple[float, ...], Range(-2), Only("search")] = ()
    normalise: Annotated[bool, Only("search")] = True
    refine: Annotated[bool, Only("search")] = True
    limit: Annotated[float, Range(0, 0.99), Only("group", "review")] = 0.4
    answer: Annotated[Literal["", "same", "different", "skip"], Only("review")] = ""
    basis: Annotated[Literal["auto", "labels", "tracks"], Only("calibrate")] = "auto"
    seed: Annotated[int, Range(0), Only("calibrate")] = 1
    yes: Annotated[tuple[int, ...], Range(1), Only("judge")] = ()
    no: Annotated[tuple[int, ...], Range(1), Only("judge")] = ()
    skip: Annotated[tuple[int, ...], Range(1), Only("judge")] = ()
    person: Annotated[int | None, Range(1), Only("name", "forget", "audit", "hide", "withdraw")] = None
    source: Annotated[int | None, Range(1), Only("forget")] = None
    note: Annotated[str, Only("case")] = ""
    drop: Annotated[bool, Only("case")] = False
    out: Annotated[Path | None, Only("export", "withdraw", "forget", "expire", "calibrate")] = None
    by_action: Annotated[str, Only("audit")] = ""
    by_user: Annotated[str, Only("audit")] = ""
    head: Annotated[str, Only("verify")] = ""
    user: str = ""
    purpose: str = ""
    json: bool = False
    device: Annotated[Device, Only("create", "add", "search", "model")] = "auto"

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.box and len(self.box) != 4:
            yield Mistake("box", "four numbers: left, top, right, bottom", "Pass {at}box 10 20 110 220.")
        if self.page_after and len(self.page_after) != 2:
            fix = "Copy both from the line below the page of results."
            yield Mistake("page_after", "two numbers: a similarity and a number", fix)
