"""One video → its part of a crop set: a folder that is there whole or not at all, and does not depend on anything else.

What is unusual: a part is a small crop set of its own. It holds every box that the rules keep; which of them enter the
set is decided when parts are joined, from their rows, so that no part depends on another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import digest, plain, write_folder
from rewho.crops.faces import Head, hide_face, locate_head
from rewho.crops.inputs import VideoTask
from rewho.crops.near_duplicates import compute_fingerprint
from rewho.crops.people_source import PeopleSource, VideoContent
from rewho.crops.quality import compute_quality
from rewho.crops.rows import rows_table
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.writer import ShardWriter, crop_row, encode
from rewho.settings import CropSettings
from rewho.video.explain import write_explanation
from rewho.video.people import Frame, FramePeople, Person, Probe, VideoFailure

PARTS = "parts"
UNFINISHED = "unfinished"
RECORD = "video"
WHY = "given-up.txt"
FACE_COLUMNS = ("keypoints", "other_heads", "cut")
"""Columns of the manifest that say what has to be hidden in a crop."""
DECODER_TRIES = 2  # the system may have ended the first one, where memory was short
TOGETHER = 256  # crops handed to the writer at a time


def part_folder(out: Path, task: VideoTask) -> Path:
    """Return where a video's part lies; 256 folders, so that none grows too long to list."""
    return out / PARTS / task.id[:2] / task.id


def has_part(out: Path, task: VideoTask) -> bool:
    """Return whether a video was worked on to its end."""
    return (part_folder(out, task) / INDEX).is_file()


@dataclass(frozen=True)
class PartMaker:
    """Makes parts; it is what worker processes run.

    Args:
        out: Folder of the crop set.
        settings: Encoding, explanation, terms.
        config: Digest of the settings that decide the crops.
        source: Gives the people of a video.
        aside: Where parts are kept while they are made; one builder's own.
    """

    out: Path
    settings: CropSettings
    config: str
    source: PeopleSource
    aside: Path

    def __call__(self, task: VideoTask) -> dict[str, Any]:
        """Work on a video and return its record."""
        record: dict[str, Any] = {}

        def fill(folder: Path) -> None:
            record.update(self.fill(folder, task))

        write_folder(part_folder(self.out, task), fill, aside_in=self.aside)
        return record

    def fill(self, folder: Path, task: VideoTask) -> dict[str, Any]:
        """Write a video's part into an empty folder and return its record."""
        writer = ShardWriter(folder)
        for _ in range(DECODER_TRIES):
            record = self._record(writer, folder, task)
            if record["status"] == "failed":
                writer = _emptied(writer, folder)
            if record["reason"] != "decoder died":
                break
        writer.commit({RECORD: record})
        return record

    def _record(self, writer: ShardWriter, folder: Path, task: VideoTask) -> dict[str, Any]:
        """Write a video's crops and return its record."""
        with self.source.open(Path(task.path)) as look:
            record = new_record(task, look.probe)
            if look.refusal:
                failed = look.probe.status != "ok"
                return record | {"status": "failed" if failed else "refused", "reason": look.refusal}
            try:
                return record | self._crops(writer, folder, task, look)
            except VideoFailure as failure:
                return record | {"status": "failed", "reason": failure.reason, "detail": failure.detail}

    def _crops(self, writer: ShardWriter, folder: Path, task: VideoTask, video: VideoContent) -> dict[str, Any]:
        """Write the crops of a video and return the counts."""
        reasons: Counter[str] = Counter()
        frames = found = kept = most = 0
        rows: list[dict[str, Any]] = []
        data: list[bytes] = []
        names: set[tuple[int, int]] = set()
        about = {
            "video": video.probe.sha256,
            "licence": task.licence or self.settings.terms.licence,
            "config": self.config,
        }
        for look in video.people:
            # Only now: a file of detections belongs to a video, and its hash is known when that video has begun.
            about["detector"], about["pose"] = self.source.models()
            people = [judged.person for judged in look.people if not judged.reasons]
            reasons.update(reason for judged in look.people for reason in judged.reasons)
            frames, found, kept = frames + 1, found + len(look.people), kept + len(people)
            most = max(most, len(people))
            for person in make_indices_unique(people, names, look.frame.number):
                row, encoded = self._crop(look, person, about)
                rows.append(row)
                data.append(encoded)
            if len(rows) >= TOGETHER:
                writer.add(rows_table(rows), data)
                rows, data = [], []
            if look.people and len(list(folder.glob("explained/*.jpg"))) < self.settings.explain:
                self._explain(folder, task, look)
        if rows:
            writer.add(rows_table(rows), data)
        counts = {"looked": frames, "detections": found, "kept": kept, "persons": most}
        return {**counts, "dropped": dict(sorted(reasons.items()))}

    def _crop(self, look: FramePeople, person: Person, about: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        frame = look.frame
        cut = crop_box(person.box, frame.image.shape[:2])
        pixels = np.ascontiguousarray(frame.image[cut[1] : cut[3], cut[0] : cut[2]])
        points = person.keypoints
        others = find_heads(cut, [one.person for one in look.people if one.person.box is not person.box])
        if self.settings.blur_stored:
            pixels = hide_face(pixels, shift_keypoints(points, cut), others)
        encoded = encode(pixels, self.settings.encoding, self.settings.jpeg_quality)
        row = crop_row(
            f"{about['video'][:16]}-{frame.number:07d}-{person.index:03d}",
            encoded,
            pixels,
            frame=frame.number,
            time=frame.time,
            index=person.index,
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

    def _explain(self, folder: Path, task: VideoTask, look: FramePeople) -> None:
        hidden = np.array(look.frame.image)
        for judged in look.people:
            left, top, right, bottom = crop_box(judged.person.box, hidden.shape[:2])
            points = shift_keypoints(judged.person.keypoints, (left, top, right, bottom))
            hidden[top:bottom, left:right] = hide_face(np.ascontiguousarray(hidden[top:bottom, left:right]), points)
        shown = FramePeople(Frame(look.frame.number, look.frame.time, hidden), look.people)
        file = folder / "explained" / f"{task.id[:12]}-{look.frame.number:07d}.jpg"
        write_explanation(file, shown, self.settings.rules)


def make_indices_unique(people: Sequence[Person], names: set[tuple[int, int]], frame: int) -> list[Person]:
    """Return people with a number that no other of the frame has, because crops are named by it.

    Args:
        people: Detections of a frame.
        names: Frame and number of every crop of the video so far; those of `people` are added.
        frame: The frame's number.

    Example:
        >>> twice = Person((0, 0, 1, 2), 1.0, None, 7)
        >>> [one.index for one in make_indices_unique([twice, twice], set(), 0)]
        [7, 8]
    """
    given = {(frame, person.index) for person in people}
    apart = []
    for person in people:
        index = person.index
        if (frame, index) in names:
            index = next(free for free in count(index + 1) if (frame, free) not in names | given)
        names.add((frame, index))
        apart.append(person if index == person.index else replace(person, index=index))
    return apart


def _emptied(writer: ShardWriter, folder: Path) -> ShardWriter:
    """Return a writer that begins anew, after what the first one wrote was removed."""
    writer.abandon()
    for file in [*folder.rglob("*.arrow"), *folder.rglob("*.parquet"), *folder.rglob("*.jpg")]:
        file.unlink()
    return ShardWriter(folder)


def hash_config(settings: CropSettings, models: tuple[str, str]) -> str:
    """Return the digest of what decides a crop: sampling, screen, rules, models, encoding; not who works on it."""
    names = ("sampling", "screen", "rules", "encoding", "jpeg_quality", "blur_stored")
    found = {name: plain(getattr(settings, name)) for name in names}
    detection = {name: getattr(settings.detector, name) for name in ("confidence", "overlap", "most", "first_frame")}
    return digest(_one_form({**found, "detection": detection, "models": list(models)}))


def _one_form(value: Any) -> Any:  # noqa: ANN401 - plain values
    """Return plain values with whole numbers as integers: 16 and 16.0 are the same setting, but not the same JSON."""
    if isinstance(value, dict):
        return {name: _one_form(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_one_form(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def new_record(task: VideoTask, probe: Probe | None = None) -> dict[str, Any]:
    """Return what is known of a video before a frame is looked at; every record has these names."""
    known = asdict(probe) if probe is not None else {}
    own = {name: known.get(name, 0) for name in ("frames", "duration", "width", "height", "fps")}
    own |= {name: known.get(name, "") for name in ("sha256", "detail", "changes")} | {"status": "ok", "reason": ""}
    return {**asdict(task), **own, "looked": 0, "detections": 0, "kept": 0, "persons": 0, "dropped": {}}


def crop_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box in whole pixels within the frame: rounded half to even, as the published crops are, then clipped.

    Args:
        box: Left, top, right, bottom in pixels.
        size: Height and width of the frame.

    Example:
        >>> crop_box((100.5, 59.6, 162.2, 999.0), (360, 640))
        (100, 60, 162, 360)
    """
    height, width = size
    left, top, right, bottom = (round(side) for side in box)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return left, top, max(left + 1, min(right, width)), max(top + 1, min(bottom, height))


def shift_keypoints(points: NDArray[np.float32] | None, cut: tuple[int, int, int, int]) -> NDArray[np.float32] | None:
    """Return keypoints in pixels of the crop instead of the frame."""
    return None if points is None else points - np.array([cut[0], cut[1], 0], np.float32)


def find_heads(cut: tuple[int, int, int, int], people: Sequence[Person]) -> list[Head]:
    """Return the heads that reach into a crop, in its pixels, of people whose keypoints are known.

    Args:
        cut: Left, top, right, bottom of the crop in pixels of the frame.
        people: Everybody else in the frame, kept or not.
    """
    found = []
    for person in people:
        left, top, right, bottom = person.box
        points = None if person.keypoints is None else person.keypoints - np.array([left, top, 0], np.float32)
        head = locate_head(points, (round(bottom - top), round(right - left)))
        if head is not None:
            here = head._replace(x=head.x + left - cut[0], y=head.y + top - cut[1])
            across, down = abs(here.x - (cut[2] - cut[0]) / 2), abs(here.y - (cut[3] - cut[1]) / 2)
            if across < here.width + (cut[2] - cut[0]) / 2 and down < here.height + (cut[3] - cut[1]) / 2:
                found.append(here)
    return found


def hide_known_faces(pixels: NDArray[np.uint8], row: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return a crop as it may be shown: all heads that are known of hidden.

    Args:
        pixels: The crop, uint8 RGB.
        row: Its row of the manifest, with `FACE_COLUMNS`.
    """
    points = None
    if row["keypoints"] is not None:
        left, top, right, bottom = row["cut"]
        points = shift_keypoints(np.array(row["keypoints"], np.float32).reshape(17, 3), (left, top, right, bottom))
    others = np.array(row["other_heads"], np.float64).reshape(-1, 4).tolist()
    return hide_face(pixels, points, [Head(*one) for one in others])


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a finished part.

    Raises:
        UserError: It is not there, or damaged.
    """
    record: dict[str, Any] = CropSet.open(folder).contents.about[RECORD]
    return record


def read_records(out: Path, tasks: Iterator[VideoTask]) -> Iterator[tuple[VideoTask, dict[str, Any]]]:
    """Yield each video's record, from the parts that are finished."""
    for task in tasks:
        if has_part(out, task):
            yield task, read_record(part_folder(out, task))


def write_given_up(out: Path, aside: Path, task: VideoTask, why: str) -> None:
    """Write the part of a video that was given up: no crops, and beside the record what was seen of its end.

    That is not in the record, because it depends on the engine: one sees a signal, another a broken connection.
    """
    record = {**new_record(task), "status": "given up", "reason": "ended its process"}

    def fill(folder: Path) -> None:
        (folder / WHY).write_text(f"{task.path}: {why}\n", encoding="utf-8", errors="replace")
        ShardWriter(folder).commit({RECORD: record})

    write_folder(part_folder(out, task), fill, aside_in=aside)
