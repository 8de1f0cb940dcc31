"""Makes the part of one video: a small crop set that is written whole or not at all and depends on nothing else.

A part holds every box that the rules keep. Which of them enter the final set is decided when parts are joined, so that
no part depends on another.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from rewho.core.artifact import digest, plain, write_folder
from rewho.crops.faces import Head, hide_face, locate_head, shift_keypoints
from rewho.crops.inputs import VideoTask
from rewho.crops.near_duplicates import compute_fingerprint
from rewho.crops.people_source import PeopleSource, VideoContent
from rewho.crops.photographs import is_photograph
from rewho.crops.quality import compute_quality
from rewho.crops.rows import rows_table
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.suppression import read_suppressed, without_suppressed
from rewho.crops.workers import report
from rewho.crops.writer import ShardWriter, crop_row, encode
from rewho.settings import CropSettings
from rewho.video.explain import write_explanation
from rewho.video.people import Frame, FramePeople, Person, Probe, VideoFailure
from rewho.video.tracks import LinkedPeople

PARTS = "parts"
UNFINISHED = "unfinished"
RECORD = "video"  # key of the video's record in the index of a part
GIVEN_UP = "given-up.txt"
DECODER_TRIES = 2  # the system may have ended the first decoder because memory was short
WRITE_CROPS = 256  # crops passed to the writer at a time
REPORT_S = 1.0  # seconds between two reports of frames


def part_folder(out: Path, task: VideoTask) -> Path:
    """Return the folder of a video's part, in one of 256 folders: one folder of all parts would be slow to list."""
    return out / PARTS / task.id[:2] / task.id


def has_part(out: Path, task: VideoTask) -> bool:
    """Return whether a video's part is finished."""
    return (part_folder(out, task) / INDEX).is_file()


@dataclass(frozen=True)
class PartMaker:
    """Makes the parts of videos; runs in worker processes."""

    out: Path  # folder of the crop set
    settings: CropSettings
    config: str  # digest of the settings that determine the crops
    source: PeopleSource
    aside: Path  # where unfinished parts are written; not shared with another builder

    def __call__(self, task: VideoTask) -> dict[str, Any]:
        """Make the part of a video and return the video's record."""
        record: dict[str, Any] = {}

        def fill(folder: Path) -> None:
            record.update(self.fill(folder, task))

        write_folder(part_folder(self.out, task), fill, aside_in=self.aside)
        return record

    def fill(self, folder: Path, task: VideoTask) -> dict[str, Any]:
        """Write a video's part into an empty folder and return the video's record."""
        writer = ShardWriter(folder)
        for _ in range(DECODER_TRIES):
            record = self._process_video(writer, folder, task)
            if record["status"] == "failed":
                writer = _restart(writer, folder)
            if record["reason"] != "decoder died":
                break
        writer.commit({RECORD: record})
        return record

    def _process_video(self, writer: ShardWriter, folder: Path, task: VideoTask) -> dict[str, Any]:
        with self.source.open(Path(task.path)) as video:
            record = new_record(task, video.probe)
            if video.refusal:
                failed = video.probe.status != "ok"
                return record | {"status": "failed" if failed else "refused", "reason": video.refusal}
            try:
                return record | self._write_crops(writer, folder, task, video)
            except VideoFailure as failure:
                return record | {"status": "failed", "reason": failure.reason, "detail": failure.detail}

    def _write_crops(self, writer: ShardWriter, folder: Path, task: VideoTask, video: VideoContent) -> dict[str, Any]:
        """Write the crops of a video and return its counts."""
        reasons: Counter[str] = Counter()
        frames = detections = kept = most = 0
        rows: list[dict[str, Any]] = []
        data: list[bytes] = []
        names: set[tuple[int, int]] = set()
        licence = task.licence or self.settings.terms.licence
        about = {"video": video.probe.sha256, "licence": licence, "config": self.config}
        linked = LinkedPeople(video.people, self.settings.tracking)
        forgotten = read_suppressed(self.out)
        told, at = 0, time.monotonic()

        def write() -> None:
            some, images = without_suppressed(rows, data, forgotten)
            if some:
                writer.add(rows_table(some), images)

        for found in linked:
            # Not earlier: the hash of a video's file of detections is known when its first frame arrives.
            about["detector"], about["pose"] = self.source.models()
            people = [verdict.person for verdict in found.people if not verdict.reasons]
            reasons.update(reason for verdict in found.people for reason in verdict.reasons)
            frames, detections, kept = frames + 1, detections + len(found.people), kept + len(people)
            most = max(most, len(people))
            if time.monotonic() - at >= REPORT_S:
                report(frames - told)
                told, at = frames, time.monotonic()
            for person in make_indices_unique(people, names, found.frame.number):
                row, encoded = self._crop(found, person, about)
                rows.append(row)
                data.append(encoded)
            if len(rows) >= WRITE_CROPS:
                write()
                rows, data = [], []
            if found.people and len(list(folder.glob("explained/*.jpg"))) < self.settings.explain:
                self._explain(folder, task, found)
        write()
        report(frames - told)
        counts = {"looked": frames, "detections": detections, "kept": kept, "persons": most}
        counts |= {"unlinked": 0 if is_photograph(task.path) else linked.unlinked}  # one frame has no neighbours
        return {**counts, "dropped": dict(sorted(reasons.items()))}

    def _crop(self, found: FramePeople, person: Person, about: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return the manifest row and the encoded image of a person in a frame."""
        frame, points = found.frame, person.keypoints
        cut = crop_box(person.box, frame.image.shape[:2])
        pixels = np.ascontiguousarray(frame.image[cut[1] : cut[3], cut[0] : cut[2]])
        others = find_heads(cut, [one.person for one in found.people if one.person.box is not person.box])
        if self.settings.blur_stored:
            pixels = hide_face(pixels, shift_keypoints(points, *cut[:2]), others)
        encoded = encode(pixels, self.settings.encoding, self.settings.jpeg_quality)
        row = crop_row(
            f"{about['video'][:16]}-{frame.number:07d}-{person.index:03d}",
            encoded,
            pixels,
            frame=frame.number,
            time=frame.time,
            index=person.index,
            track=person.track,
            box=list(person.box),
            cut=list(cut),
            confidence=person.confidence,
            keypoints=None if points is None else points.reshape(-1).tolist(),
            other_heads=[value for head in others for value in head],
            quality=compute_quality(pixels, person.confidence, points),
            fingerprint=compute_fingerprint(pixels),
            **about,
        )
        return row, encoded

    def _explain(self, folder: Path, task: VideoTask, found: FramePeople) -> None:
        """Write a frame with all boxes and the reasons of those dropped, faces hidden."""
        image = np.array(found.frame.image)
        for verdict in found.people:
            left, top, right, bottom = crop_box(verdict.person.box, image.shape[:2])
            points = shift_keypoints(verdict.person.keypoints, left, top)
            image[top:bottom, left:right] = hide_face(np.ascontiguousarray(image[top:bottom, left:right]), points)
        hidden = FramePeople(Frame(found.frame.number, found.frame.time, image), found.people)
        file = folder / "explained" / f"{task.id[:12]}-{found.frame.number:07d}.jpg"
        write_explanation(file, hidden, self.settings.rules)


def make_indices_unique(people: Sequence[Person], names: set[tuple[int, int]], frame: int) -> list[Person]:
    """Return people with indices that are unique in their frame, because crops are named by them.

    `names` has the frame and index of every crop of the video so far; those of `people` are added.

    Example:
        >>> twice = Person((0, 0, 1, 2), 1.0, None, 7)
        >>> [one.index for one in make_indices_unique([twice, twice], set(), 0)]
        [7, 8]
    """
    given = {(frame, person.index) for person in people}
    unique = []
    for person in people:
        index = person.index
        if (frame, index) in names:
            index = next(free for free in count(index + 1) if (frame, free) not in names | given)
        names.add((frame, index))
        unique.append(person if index == person.index else replace(person, index=index))
    return unique


def _restart(writer: ShardWriter, folder: Path) -> ShardWriter:
    """Remove what a writer has written and return a new one."""
    writer.abandon()
    for file in [*folder.rglob("*.arrow"), *folder.rglob("*.parquet"), *folder.rglob("*.jpg")]:
        file.unlink()
    return ShardWriter(folder)


def hash_config(settings: CropSettings, models: tuple[str, str]) -> str:
    """Return the digest of all that determines a crop: sampling, screen, rules, models and encoding."""
    names = ("sampling", "screen", "rules", "encoding", "jpeg_quality", "blur_stored")
    found = {name: plain(getattr(settings, name)) for name in names}
    detection = {name: getattr(settings.detector, name) for name in ("confidence", "overlap", "most", "first_frame")}
    if settings.tracking.kind != "none":  # sets without tracks keep the digest that they had before there were any
        found["tracking"] = plain(settings.tracking)
    return digest(_floats_to_integers({**found, "detection": detection, "models": list(models)}))


def _floats_to_integers(value: Any) -> Any:  # noqa: ANN401 - plain values
    """Return plain values with whole floats as integers: 16 and 16.0 are the same setting but different JSON."""
    if isinstance(value, dict):
        return {name: _floats_to_integers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_floats_to_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def new_record(task: VideoTask, probe: Probe | None = None) -> dict[str, Any]:
    """Return the record of a video before its first frame is processed; every record has these fields."""
    known = asdict(probe) if probe is not None else {}
    own = {name: known.get(name, 0) for name in ("frames", "duration", "width", "height", "fps")}
    own |= {name: known.get(name, "") for name in ("sha256", "detail", "changes")} | {"status": "ok", "reason": ""}
    return {**asdict(task), **own, "looked": 0, "detections": 0, "kept": 0, "persons": 0, "unlinked": 0, "dropped": {}}


def crop_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box in whole pixels, rounded half to even as in the published crops, then clipped to the frame's size.

    Example:
        >>> crop_box((100.5, 59.6, 162.2, 999.0), (360, 640))
        (100, 60, 162, 360)
    """
    height, width = size
    left, top, right, bottom = (round(side) for side in box)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return left, top, max(left + 1, min(right, width)), max(top + 1, min(bottom, height))


def find_heads(cut: tuple[int, int, int, int], people: Sequence[Person]) -> list[Head]:
    """Return the heads of other people in the frame that reach into the crop with box `cut`, in pixels of the crop."""
    found = []
    for person in people:
        left, top, right, bottom = person.box
        points = shift_keypoints(person.keypoints, left, top)
        head = locate_head(points, (round(bottom - top), round(right - left)))
        if head is not None:
            here = head._replace(x=head.x + left - cut[0], y=head.y + top - cut[1])
            across, down = abs(here.x - (cut[2] - cut[0]) / 2), abs(here.y - (cut[3] - cut[1]) / 2)
            if across < here.width + (cut[2] - cut[0]) / 2 and down < here.height + (cut[3] - cut[1]) / 2:
                found.append(here)
    return found


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the video of a finished part."""
    record: dict[str, Any] = CropSet.open(folder).contents.about[RECORD]
    return record


def write_given_up(out: Path, aside: Path, task: VideoTask, why: str) -> None:
    """Write the part of a video that was given up: its record and a text file with the reason, without crops.

    The reason is not in the record, because it depends on the engine: a signal, or a broken connection.
    """
    record = {**new_record(task), "status": "given up", "reason": "ended its process"}

    def fill(folder: Path) -> None:
        (folder / GIVEN_UP).write_text(f"{task.path}: {why}\n", encoding="utf-8", errors="replace")
        ShardWriter(folder).commit({RECORD: record})

    write_folder(part_folder(out, task), fill, aside_in=aside)
