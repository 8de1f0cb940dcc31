"""Writes rendered people to disk in the layout of Market-1501: plans all images, then renders them in any order."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import ASIDE, plain, remove_unfinished, write_json
from rewho.core.check import UserError, check_range
from rewho.core.files import read_json
from rewho.core.people import RENDERED
from rewho.core.record import list_differences
from rewho.core.runtime import generator
from rewho.rendered.camera import Camera
from rewho.rendered.image import render_person
from rewho.rendered.person import Identity

PARTS = ("bounding_box_train", "query", "bounding_box_test")
RENDERER = 2  # version, increased when equal settings give other images
FIRST_DISTRACTOR = 2_000_000  # numbers of the people in distractor images
SMALLEST_SHARE = 150  # images per process below which starting one does not pay


@dataclass(frozen=True)
class People:
    """The settings of `write_people`."""

    identities: int = 100  # in the training part, numbered from 1
    test_identities: int = 50  # in query and gallery, numbered after those
    cameras: int = 4  # 2 to 99
    cameras_of_person: int = 0  # at most so many cameras see one person, and at least two; 0 is up to all
    images_per_camera: int = 4  # of one person; test identities have one query image besides
    distractors: int = 100  # gallery images of people who match no query (id 0)
    junk: int = 30  # gallery images with badly placed boxes, which every ranking leaves out (id -1)
    size: tuple[int, int] = (128, 64)  # height and width of an image in pixels
    seed: int = 1  # of the world: its people and cameras

    def __post_init__(self) -> None:
        check_range("cameras", self.cameras, 2, 99)
        check_range("cameras_of_person, if not 0,", self.cameras_of_person or 2, 2, self.cameras)
        check_range("identities and test_identities", self.identities + self.test_identities, 1, 99_999)
        check_range("images_per_camera", self.images_per_camera, 1, 9999)
        for name in ("identities", "test_identities", "distractors", "junk", "seed"):
            check_range(name, getattr(self, name), 0, 999_999)
        for side in self.size:
            check_range("side of an image in pixels", side, 16, 2048)


@dataclass(frozen=True)
class _Image:
    """One image file to be written."""

    file: str  # its name has the id that the image counts as
    person: int  # who is drawn
    camera: int
    index: int


def write_people(
    folder: Path | str,
    *,
    workers: int = 0,
    progress: Callable[[int, int], object] | None = None,
    **settings: Any,  # noqa: ANN401
) -> Path:
    """Render people into a folder in the layout of Market-1501 and return the folder.

    Every person is seen by two cameras or more. The folder appears when it is complete; `rendered.json` in it
    describes its content. With the same settings a second call does nothing.

    Args:
        folder: A new or empty folder, or the result of an earlier call.
        workers: Processes that render; 0 renders in this one. The number does not change the images. Processes are
            spawned: in a script, call this under `if __name__ == "__main__":`.
        progress: Called with the number of images done and in all.
        **settings: Fields of `People`.

    Raises:
        UserError: A setting is out of range, or the folder holds something else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = write_people(f"{place}/people", identities=2, test_identities=1, distractors=0, junk=0)
        ...     sorted(path.name for path in folder.iterdir())
        ['bounding_box_test', 'bounding_box_train', 'query', 'rendered.json']
    """
    people = People(**settings)
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
        digests = []
        for digest in _write_all(people, images, aside, workers):
            digests.append(digest)
            if progress is not None:
                progress(len(digests), len(images))
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
    """Return whether the folder holds these images already; refuse one that holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    fix = "Choose another folder, or delete this one."
    description = folder / RENDERED
    if not description.is_file():
        raise UserError(str(folder), expected="a new or empty folder", got="one with other files", fix=fix)
    found = read_json(description, fix=fix, renderer=int, settings=dict, counts=dict)
    before = {"renderer": found["renderer"], **found["settings"]}
    if lines := list_differences(before, {"renderer": RENDERER, **asdict(people)}):
        raise UserError(str(folder), expected="people rendered with the same settings", got="; ".join(lines), fix=fix)
    for name, count in found["counts"].items():
        if (images := len([*(folder / name).glob("*.jpg")])) != count:
            raise UserError(str(folder / name), expected=f"{count} images", got=str(images), fix=fix)
    files = [file for name in PARTS for file in (folder / name).glob("*.jpg")]
    pairs = [(hashlib.sha256(file.read_bytes()).hexdigest(), file.relative_to(folder).as_posix()) for file in files]
    if found.get("sha256") != _hash_of_all(pairs):
        raise UserError(str(folder), expected="the images as they were rendered", got="others", fix=fix)
    return True


def _cameras_of(people: People, person: int) -> list[int]:
    """Return the cameras, two or more, that see a person."""
    rng = generator(people.seed, "cameras of", person, people.cameras)
    order = rng.permutation(people.cameras) + 1
    most = people.cameras_of_person or people.cameras
    return sorted(order[: int(rng.integers(2, most + 1))].tolist())


def _plan(people: People) -> Iterator[_Image]:
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


def _write_all(people: People, images: list[_Image], folder: Path, workers: int) -> Iterator[str]:
    """Write all images; yield the sha256 of each file as it is done."""
    write = partial(_write, people, folder)
    workers = min(workers, len(images) // SMALLEST_SHARE)
    if workers < 2:
        yield from map(write, images)
        return
    # Spawned, because a forked process hangs in OpenCV once the parent has used OpenCV's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        try:
            yield from pool.map(write, images, chunksize=20)
        except BrokenProcessPool as error:  # a dead process, or a script without the guard that `write_people` names
            raise UserError(
                "rendering",
                expected="processes that live until all images are written",
                got="one that was killed, perhaps for want of memory, or that could not start",
                fix="Run the same again, with workers=0 to render in one process; in a script, call it under "
                'if __name__ == "__main__":',
            ) from error


def _write(people: People, folder: Path, image: _Image) -> str:
    """Render one image, write it as a JPEG file and return the file's sha256."""
    identity, camera = Identity.draw(people.seed, image.person), Camera.draw(people.seed, image.camera)
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
    """Return the image in a badly placed box, which shows only a piece of the person."""
    image = render_person(identity, camera, rng, (2 * size[0], 2 * size[1])).image
    top, left = round(rng.choice([0.0, 1.0]) * size[0]), round(rng.random() * size[1])
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def _describe(people: People, images: list[_Image], digests: list[str]) -> dict[str, object]:
    pairs = [(digest, image.file) for digest, image in zip(digests, images, strict=True)]
    counts = Counter(image.file.split("/")[0] for image in images)
    return {
        "what": "rendered images of people who do not exist, in the layout of Market-1501",
        "renderer": RENDERER,
        "settings": plain(people),
        "counts": {name: counts[name] for name in PARTS},
        "sha256": _hash_of_all(pairs),
        "cameras": [asdict(Camera.draw(people.seed, number)) for number in range(1, people.cameras + 1)],
    }


def _hash_of_all(pairs: list[tuple[str, str]]) -> str:
    """Return the hash of pairs of a file's hash and its name, in any order."""
    rows = sorted(f"{digest} {name}\n" for digest, name in pairs)
    return hashlib.sha256("".join(rows).encode()).hexdigest()
