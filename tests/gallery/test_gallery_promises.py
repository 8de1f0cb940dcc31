"""What a gallery promises, counted: refused pairs that come back, forgotten people whom another program finds."""

import json
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from rewho.gallery.gallery import Gallery
from small_gallery import make_model

SEPARATE = """
import json, pathlib, sys
wanted = json.load(open(sys.argv[1]))
contents = [file.read_bytes() for place in sys.argv[2:] for file in pathlib.Path(place).rglob("*") if file.is_file()]
print(sum(any(bytes.fromhex(piece) in content for piece in pieces for content in contents) for pieces in wanted))
"""


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("second") / "model", seed=2)


def write_images(folder, count):
    rng, files = np.random.default_rng(8), []
    folder.mkdir()
    for number in range(count):
        files.append(folder / f"{number:05d}_c{number % 4}.png")
        files[-1].write_bytes(cv2.imencode(".png", rng.integers(0, 256, (64, 32, 3), np.uint8))[1].tobytes())
    return files


def count_refused(gallery, refused):
    """Return how many refused pairs are shown by searches, in either direction, or are one person."""
    shown = 0
    for one in range(1, len(gallery) + 1):
        found = {each.sighting.id for each in gallery.search(sightings=[one], count=len(gallery)).candidates}
        shown += sum((one, other) in refused or (other, one) in refused for other in found)
    people = dict(gallery.database.rows("SELECT id, person FROM sightings WHERE person IS NOT NULL"))
    return shown + sum(people.get(one, -1) == people.get(other, -2) for one, other in refused)


def refuse(gallery_folder, place, second, count, each):
    """Refuse the first results of every sighting; return how many pairs, and how many of them came back."""
    with Gallery(gallery_folder, "cpu") as gallery:
        gallery.add(write_images(place / "images", count), pattern=r"_(?P<camera>c\d)")
        refused = set()
        for one in range(1, count + 1):
            found = gallery.search(sightings=[one], count=each)
            gallery.judge(found.search, {other.sighting.id: "no" for other in found.candidates})
            refused |= {(one, other.sighting.id) for other in found.candidates}
        gallery.group(limit=0.99)
        back = count_refused(gallery, refused)
    with Gallery(gallery_folder, "cpu") as gallery:  # read and indexed anew
        back += count_refused(gallery, refused)
        gallery.use_model(second)
        gallery.group(limit=0.99)
        back += count_refused(gallery, refused)
    return len(refused), back


def test_a_refused_pair_never_comes_back(gallery_folder, tmp_path, second):
    pairs, back = refuse(gallery_folder, tmp_path, second, 40, 5)
    assert (pairs, back) == (200, 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_10000_refused_pairs_never_come_back(gallery_folder, tmp_path, second):
    pairs, back = refuse(gallery_folder, tmp_path, second, 400, 25)
    assert (pairs, back) == (10_000, 0)


def pieces_of(gallery, sighting):
    """Return pieces of 20 bytes of what is known of a sighting, that few others share, and the hash of its image."""
    row = gallery.database.one("SELECT embedding, thumbnail, sha256 FROM crops WHERE sighting = ?", (sighting,))
    found = {content[at : at + 20] for content in (row[0], row[1][700:]) for at in range(0, len(content) - 20, 20)}
    return [*sorted(piece.hex() for piece in found if len(set(piece)) > 12), row[2].encode().hex()]


def forget(gallery_folder, place, second, count, gone):
    """Forget people; return the seconds, and how many of them a separate program finds at the start and later on."""
    images, needles, found, out = write_images(place / "images", count), place / "needles.json", [], place / "out"
    out.mkdir()

    def scan():
        again = [sys.executable, "-c", SEPARATE, needles, gallery_folder, out]
        found.append(int(subprocess.run(again, capture_output=True, text=True, check=True).stdout))

    with Gallery(gallery_folder, "cpu") as gallery:
        gallery.add(images, pattern=r"_(?P<camera>c\d)")
        chosen = list(range(1, count + 1, count // gone))[:gone]
        for one in chosen:
            gallery.search(sightings=[one])
        needles.write_text(json.dumps([pieces_of(gallery, one) for one in chosen]))
        scan()
        began = time.monotonic()
        receipt = gallery.erasure.forget(chosen)["content"]
        took = time.monotonic() - began
        assert receipt["found"] == 0 and receipt["sightings"] == chosen
        scan()
    with Gallery(gallery_folder, "cpu") as gallery:  # opened again
        scan()
        added = gallery.add(images, pattern=r"_(?P<camera>c\d)")
        assert (added.crops, added.suppressed) == (0, gone)
        scan()
        left = gallery.search(images[chosen[0] - 1], count=count)
        assert not {one.sighting.id for one in left.candidates} & set(chosen) and left.total == count - gone
        case = gallery.cases.open("all", "proof")
        gallery.cases.collect(case, [one.sighting.id for one in left.candidates][:200])
        gallery.cases.export(case, out / "case.zip")
        scan()
        gallery.use_model(second)
        gallery.database.link.execute("VACUUM")  # rebuilt
        scan()
    return took, found


def test_who_was_forgotten_is_found_by_no_other_program(gallery_folder, tmp_path, second):
    _, found = forget(gallery_folder, tmp_path, second, 60, 6)
    assert found == [6, 0, 0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_100_of_2000_who_were_forgotten_are_found_by_no_other_program(gallery_folder, tmp_path, second):
    took, found = forget(gallery_folder, tmp_path, second, 2000, 100)
    assert found == [100, 0, 0, 0, 0, 0]
    assert took < 60
