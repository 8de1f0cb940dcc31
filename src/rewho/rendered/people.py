"""Rendered people on disk, in the layout of Market-1501: planned first, then rendered in any order."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import ASIDE, list_differences, plain, remove_unfinished, write_json
from rewho.core.check import UserError, check_range
from rewho.core.files import read_json
from rewho.core.people import RENDERED
from rewho.core.runtime import generator
from rewho.rendered.camera import Camera
from rewho.rendered.image import render_person
from rewho.rendered.person import Identity

PARTS = ("bounding_box_train", "query", "bounding_box_test")
RENDERER = 1  # goes up when the same settings give other images
FIRST_DISTRACTOR = 2_000_000  # numbers of the people who are nobody's match
SMALLEST_SHARE = 150  # images that are worth a process of their own


@dataclass(frozen=True)
class People:
    """What `write_people` renders.

    Args:
        identities: People in the training part, numbered from 1.
        test_identities: People in query and gallery, numbered after those.
        cameras: Cameras, 2 to 9: Market-1501's file names have one digit for them.
        images_per_camera: Images of one person on one camera; of test people, in the gallery, besides one query.
        distractors: Gallery images of people who match no query (person 0).
        junk: Gallery images that every ranking leaves out: badly placed boxes (person -1).
        size: Height and width of an image in pixels.
        seed: Which world.
    """

    identities: int = 100
    test_identities: int = 50
    cameras: int = 4
    images_per_camera: int = 4
    distractors: int = 100
    junk: int = 30
    size: tuple[int, int] = (128, 64)
    seed: int = 1

    def __post_init__(self) -> None:
        check_range("cameras", self.cameras, 2, 9)
        check_range("identities and test_identities", self.identities + self.test_identities, 1, 9999)
        check_range("images_per_camera", self.images_per_camera, 1, 9999)
        for name in ("identities", "test_identities", "distractors", "junk", "seed"):
            check_range(name, getattr(self, name), 0, 999_999)
        for side in self.size:
            check_range("side of an image in pixels", side, 16, 2048)


@dataclass(frozen=True)
class _Image:
    """One file to be written: `person` is who is drawn, the file name carries who it counts as."""

    file: str
    person: int
    camera: int
    index: int


def write_people(
    folder: Path | str,
    *,
    identities: int = 100,
    test_identities: int = 50,
    cameras: int = 4,
    images_per_camera: int = 4,
    distractors: int = 100,
    junk: int = 30,
    size: tuple[int, int] = (128, 64),
    seed: int = 1,
    workers: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Render people into a folder with the layout and the file names of Market-1501.

    Every person is seen by two cameras or more. The folder appears when it is complete; `synthetic.json` in it says
    what was rendered. With the same settings a second call does nothing.

    Args:
        folder: Where to write; it must not exist, be empty, or hold the result of an earlier call.
        identities: See `People`.
        test_identities: See `People`.
        cameras: See `People`.
        images_per_camera: See `People`.
        distractors: See `People`.
        junk: See `People`.
        size: See `People`.
        seed: See `People`.
        workers: Processes that render; 0 renders in this one. The images are the same for any number. They are
            spawned: a script that asks for them has to call this under `if __name__ == "__main__":`.
        progress: Called with the number of images done and in all.

    Returns:
        The folder.

    Raises:
        UserError: A setting is out of range, or the folder holds something else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = write_people(f"{place}/people", identities=2, test_identities=1, distractors=0, junk=0)
        ...     sorted(path.name for path in folder.iterdir())
        ['bounding_box_test', 'bounding_box_train', 'query', 'synthetic.json']
    """
    people = People(
        identities, test_identities, cameras, images_per_camera, distractors, junk, (size[0], size[1]), seed
    )
    folder = Path(folder)
    if _finished(folder, people):
        return folder
    images = list(_plan(people))
    aside = folder.with_name(f"{ASIDE}{os.getpid()}-{folder.name}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder.parent)
        for name in PARTS:
            (aside / name).mkdir(parents=True)
        digests = _write_all(people, images, aside, workers, progress)
        write_json(aside / RENDERED, _describe(people, images, digests))
        if folder.exists():
            folder.rmdir()
        aside.replace(folder)
    except OSError as error:
        fix = "Free some space or choose another folder, and call again."
        raise UserError(f"writing {folder}", expected="a folder to write to", got=str(error), fix=fix) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _finished(folder: Path, people: People) -> bool:
    """Return whether the folder already holds these images; refuse a folder that holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    fix = "Choose another folder, or delete this one."
    description = folder / RENDERED
    if not description.is_file():
        raise UserError(str(folder), expected="a new or empty folder", got="one with other files", fix=fix)
    try:
        found = read_json(description, renderer=int, settings=dict, counts=dict)
        before, counts = {"renderer": found["renderer"], **found["settings"]}, found["counts"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            str(description), expected="a description of rendered people", got=repr(error), fix=fix
        ) from error
    lines = list_differences(before, {"renderer": RENDERER, **asdict(people)})
    if lines:
        raise UserError(str(folder), expected="people rendered with the same settings", got="; ".join(lines), fix=fix)
    for name, count in counts.items():
        there = sum(1 for _ in (folder / name).glob("*.jpg"))
        if there != count:
            raise UserError(str(folder / name), expected=f"{count} images", got=str(there), fix=fix)
    return True


def _cameras_of(people: People, person: int) -> list[int]:
    """Return the cameras, two or more, that see a person."""
    rng = generator(people.seed, "cameras of", person, people.cameras)
    order = rng.permutation(people.cameras) + 1
    return sorted(order[: int(rng.integers(2, people.cameras + 1))].tolist())


def _plan(people: People) -> Iterator[_Image]:
    """Yield every image of the set."""
    for person in range(1, people.identities + people.test_identities + 1):
        tested = person > people.identities
        for camera in _cameras_of(people, person):
            for index in range(people.images_per_camera + tested):
                part = "bounding_box_train" if not tested else "bounding_box_test" if index else "query"
                name = f"{part}/{person:04d}_c{camera}s1_{index + 1:06d}_00.jpg"
                yield _Image(name, person, camera, index)
    rng = generator(people.seed, "distractors and junk", people.identities, people.test_identities, people.cameras)
    for index in range(people.distractors):
        camera = int(rng.integers(1, people.cameras + 1))
        name = f"bounding_box_test/0000_c{camera}s1_{index + 1:06d}_00.jpg"
        yield _Image(name, FIRST_DISTRACTOR + index, camera, 0)
    for index in range(people.junk):
        person = people.identities + int(rng.integers(1, max(people.test_identities, 1) + 1))
        camera = int(rng.integers(1, people.cameras + 1))
        yield _Image(f"bounding_box_test/-1_c{camera}s1_{index + 1:06d}_00.jpg", person, camera, 10_000 + index)


def _write_all(
    people: People,
    images: list[_Image],
    folder: Path,
    workers: int,
    progress: Callable[[int, int], object] | None,
) -> list[str]:
    """Write all images; return the sha256 of each file."""
    write = partial(_write, people, folder)
    workers = min(workers, len(images) // SMALLEST_SHARE)
    digests = []

    def collect(results: Iterator[str]) -> None:
        for digest in results:
            digests.append(digest)
            if progress is not None:
                progress(len(digests), len(images))

    if workers < 2:
        collect(map(write, images))
        return digests
    # Spawned, because a forked process hangs in OpenCV once the parent has used OpenCV's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        collect(pool.map(write, images, chunksize=20))
    return digests


@lru_cache(maxsize=64)
def _identity(seed: int, number: int) -> Identity:
    return Identity.draw(seed, number)


@lru_cache(maxsize=64)
def _camera(seed: int, number: int) -> Camera:
    return Camera.draw(seed, number)


def _write(people: People, folder: Path, image: _Image) -> str:
    """Render one image, write it as JPEG and return the sha256 of the file."""
    identity, camera = _identity(people.seed, image.person), _camera(people.seed, image.camera)
    rng = generator(people.seed, "picture", image.person, image.camera, image.index)
    if Path(image.file).name.startswith("-1"):
        pixels = _badly_placed(identity, camera, rng, people.size)
    else:
        pixels = render_person(identity, camera, rng, people.size).image
    done, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg_quality])
    assert done, "a uint8 image can always be encoded"
    content = data.tobytes()
    (folder / image.file).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _badly_placed(
    identity: Identity, camera: Camera, rng: np.random.Generator, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return what a box shows that caught only a piece of a person."""
    image = render_person(identity, camera, rng, (2 * size[0], 2 * size[1])).image
    top, left = round(rng.choice([0.0, 1.0]) * size[0]), round(rng.random() * size[1])
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def _describe(people: People, images: list[_Image], digests: list[str]) -> dict[str, object]:
    rows = sorted(f"{digest} {image.file}\n" for digest, image in zip(digests, images, strict=True))
    counts = Counter(image.file.split("/")[0] for image in images)
    cameras = [asdict(_camera(people.seed, number)) for number in range(1, people.cameras + 1)]
    return {
        "what": "rendered images of people who do not exist, in the layout of Market-1501",
        "renderer": RENDERER,
        "settings": plain(people),
        "counts": {name: counts[name] for name in PARTS},
        "sha256": hashlib.sha256("".join(rows).encode()).hexdigest(),
        "cameras": cameras,
    }
