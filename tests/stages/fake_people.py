"""Stands in for decoder and detector: a "video" is a JSON file that says what is in it, and how it behaves.

Run as a program it is `rewho crop` with that source: python fake_people.py VIDEOS OUT [NAME=VALUE ...]
"""

import hashlib
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from rewho.core.check import UserError
from rewho.core.runtime import EXIT_INTERRUPTED, EXIT_PARTLY_FAILED, Interrupted, PartlyFailed
from rewho.crops.people_source import VideoContent
from rewho.settings import CropSettings, SelectionSettings, TermsSettings
from rewho.stages import crop
from rewho.video.people import Frame, FramePeople, Person, Probe, Verdict, VideoFailure

SIZE = (120, 200)
TERMS = TermsSettings("Test", "drawn by the test", "CC0-1.0", "tests", "nobody is in it", "nobody", "one test")


def write_videos(folder: Path, count: int, frames: int = 6, people: int = 3, **more) -> Path:
    """Write some videos that differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        content = {"seed": number, "frames": frames, "people": people, **more}
        (folder / f"v{number:03d}.mp4").write_text(json.dumps(content))
    return folder


class FakePeople:
    """People of such videos: a random box per person, its image a pattern of its own."""

    def models(self) -> tuple[str, str]:
        return "fake sha256:aa", "fake-pose sha256:bb"

    def look(self, path: Path) -> tuple[Probe, str]:
        data = path.read_bytes()
        content = json.loads(data)
        if content.get("broken"):
            return Probe("failed", "unreadable", 0, 0, 0, 0, 0, "", "made so"), "unreadable"
        sha256, frames = hashlib.sha256(data).hexdigest(), content["frames"] * 100
        refusal = "static" if content.get("static") else ""
        return Probe(
            "ok", "", frames, frames / 25, SIZE[1], SIZE[0], 25.0, sha256, changes=content.get("changes", "")
        ), refusal

    @contextmanager
    def open(self, path: Path):
        yield VideoContent(*self.look(path), self.people(path))

    def people(self, path: Path):
        content = json.loads(path.read_text())
        self._misbehave(content, path)
        random = np.random.default_rng(content["seed"])
        scene = random.integers(0, 256, (*SIZE, 3), np.uint8)
        for number in range(content["frames"]):
            time.sleep(content.get("seconds", 0))
            if number == content.get("cut_at"):
                raise VideoFailure("cut short", "made so")
            if not content.get("still"):
                scene = random.integers(0, 256, (*SIZE, 3), np.uint8)
            found = tuple(
                self._person(random, index, still=content.get("still", False)) for index in range(content["people"])
            )
            yield FramePeople(Frame(100 * number, 4.0 * number, scene), found)

    def _misbehave(self, content: dict, path: Path) -> None:
        if content.get("poison") and not Path(f"{path}.antidote").exists():
            os.kill(os.getpid(), signal.SIGSEGV)
        if content.get("bug"):
            raise ZeroDivisionError("made so")

    def _person(self, random, index: int, still: bool) -> Verdict:
        left, top = (20.0 * index, 10.0) if still else random.uniform((-5, -5), (150, 40))
        box = (float(left), float(top), float(left) + 30.0, float(top) + 80.0)
        points = np.zeros((17, 3), np.float32)
        points[:, 0], points[:, 1] = box[0] + 15, np.linspace(box[1] + 5, box[3] - 5, 17)
        points[:, 2] = random.uniform(0.5, 1)
        confidence = 0.9 if still else float(random.uniform(0.5, 1))
        return Verdict(Person(box, confidence, points, index), () if index % 3 != 2 else ("too small",))


class Untouchable(FakePeople):
    def look(self, path):
        raise AssertionError(f"{path} was opened again")


def settings(videos: Path, out: Path, **changes) -> CropSettings:
    named = videos if isinstance(videos, tuple) else (videos,)
    return CropSettings(videos=named, out=out, terms=TERMS, **{"workers": 0, **changes})


def tree(folder: Path) -> dict[str, str]:
    """Return the hash of every file that must not depend on who made it."""
    own = ("run.json", "manifest.json")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in own]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def build_crops(folder: Path) -> Path:
    """Build a crop set of four videos and return its folder."""
    return crop.run(settings(write_videos(folder / "videos", 4), folder / "crops"), FakePeople())


def main() -> int:
    given = dict(word.split("=") for word in sys.argv[3:])
    chosen = replace(
        settings(Path(sys.argv[1]), Path(sys.argv[2])),
        workers=int(given.get("workers", 2)),
        shard=given.get("shard", "1/1"),
        engine=given.get("engine", "processes"),
        failure_limit=1.0,
        selection=SelectionSettings(near_duplicates=given.get("near", "keep")),
    )
    try:
        crop.run(chosen, FakePeople())
    except PartlyFailed:
        return EXIT_PARTLY_FAILED
    except Interrupted:
        return EXIT_INTERRUPTED
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
