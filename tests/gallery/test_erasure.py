"""What is forgotten is in no byte of the folder, found by a search of the test's own; and it stays out."""

import json
import zipfile

import cv2
import numpy as np
import pytest

from rewho.core.byte_scan import Pieces, scan_apart
from rewho.core.check import UserError
from rewho.core.signing import check_receipt
from rewho.crops.writer import encode
from rewho.gallery.adding import Embedded
from rewho.gallery.cases import check_export
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Actor
from small_gallery import TERMS, Clock, crops_of, fill, random_vectors, write_images

IMAGES = np.random.default_rng(5).integers(0, 256, (40, 64, 32, 3), np.uint8)


@pytest.fixture
def filled(gallery_folder, tmp_path):
    files = write_images(tmp_path, IMAGES)
    with Gallery(gallery_folder, "cpu") as gallery:
        gallery.add(files, camera="door")
        yield gallery, files


def pieces(gallery, sightings):
    """Return embeddings and thumbnails of sightings, in pieces of 20 bytes that few other images share."""
    found = set()
    for one in sightings:
        for blob, picture in gallery.database.rows("SELECT embedding, thumbnail FROM crops WHERE sighting = ?", (one,)):
            for content in (blob, picture[700:]):
                found |= {content[at : at + 20] for at in range(0, len(content) - 20, 20)}
    return {piece for piece in found if len(set(piece)) > 12}


def left(folder, needles):
    """Return how many pieces are in the folder's files, by a search unlike the gallery's own."""
    content = b"\0".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())
    return sum(needle in content for needle in needles)


def test_forgotten_people_are_in_no_byte_and_stay_out(filled):
    gallery, files = filled
    gallery.search(IMAGES[3])
    person = gallery.people.name("Zacharias Unmistakable", sightings=[4, 11])
    case = gallery.cases.open("theft", "find the bag")
    gallery.cases.collect(case, [4, 20])
    needles = pieces(gallery, [4, 11])
    assert left(gallery.folder, needles) == len(needles) > 50
    receipt = gallery.erasure.forget(person=person, by=Actor("officer", "request 7"))
    assert receipt["content"]["found"] == 0
    assert receipt["content"]["files"] >= 3
    assert receipt["content"]["sightings"] == [4, 11]
    assert left(gallery.folder, needles | {b"Zacharias"}) == 0
    assert {one.sighting.id for one in gallery.search(IMAGES[3], count=100).candidates} == {*range(1, 41)} - {4, 11}
    again = gallery.add(files, camera="door")
    assert (again.crops, again.present, again.suppressed) == (0, 38, 2)
    gallery.close()
    with Gallery(gallery.folder, "cpu") as opened:
        assert len(opened.search(IMAGES[3], count=100).candidates) == 38
        assert [number for number, _ in opened.cases.sightings(case)] == [20]
        assert opened.verify() == []
        assert left(opened.folder, needles) == 0


def test_no_name_and_no_record_by_person_is_left_of_whom_nobody_is_left_of(filled):
    gallery, _ = filled
    names = ("Zachariasson", "Zimmerwald", "Zwetschkenbaum", "Zollikofer")
    people = [gallery.people.name(name, sightings=[3 * at + 1, 3 * at + 2]) for at, name in enumerate(names)]
    gallery.sightings([1])
    gallery.cases.collect(gallery.cases.open("bag", "order 17"), [1], "with Zachariasson")
    one = gallery.people.merge(people[:2])
    gallery.people.split([7])
    assert gallery.audit(person=one)
    gallery.erasure.forget(person=one)
    gallery.erasure.forget([10])
    with pytest.raises(UserError, match="no such person"):
        gallery.audit(person=one)
    assert {row.name for row in gallery.people.list()} >= set(names[2:])
    content = b"".join(file.read_bytes() for file in gallery.folder.rglob("*") if file.is_file())
    assert [name for name in names if name.encode() in content] == list(names[2:])
    gallery.erasure.forget([11])
    assert [one.name for one in gallery.people.list() if one.name] == [names[2]]


def test_a_receipt_is_signed_and_every_change_of_it_is_found(filled):
    gallery, _ = filled
    receipt = gallery.erasure.forget([7])
    assert check_receipt(receipt)
    for name in receipt["content"]:
        assert not check_receipt({**receipt, "content": {**receipt["content"], name: "changed"}})
    assert not check_receipt(receipt, key="00" * 32)


def test_the_byte_scan_finds_what_is_left(filled, tmp_path):
    gallery, _ = filled
    blob, picture = gallery.database.one("SELECT embedding, thumbnail FROM crops WHERE id = 9")
    assert scan_apart(gallery.folder, [blob]).found
    for content in (blob, picture[900:1100]):
        (gallery.folder / "left.bin").write_bytes(bytes(12_345) + content[3:] + bytes(50))
        gone = [found for found in scan_apart(gallery.folder, [blob, picture]).found if found[0] == "left.bin"]
        assert gone
    with pytest.raises(UserError, match=r"a piece at byte 12,3\d\d of left.bin"):
        gallery.erasure.forget([9])
    (gallery.folder / "left.bin").unlink()


def test_withdrawn_sightings_keep_their_record_without_what_identifies(filled):
    gallery, _ = filled
    needles = pieces(gallery, [5])
    receipt = gallery.erasure.withdraw([5])
    assert receipt["content"]["action"] == "withdraw"
    assert left(gallery.folder, needles) == 0
    assert 5 not in {one.sighting.id for one in gallery.search(IMAGES[4], count=100).candidates}
    assert gallery.sightings([5])[0].camera == "door"
    with pytest.raises(UserError, match="withdrawn"):
        gallery.search(sightings=[5])
    with pytest.raises(UserError, match="withdrawn"):
        gallery.thumbnail(5)


def test_withdrawn_sightings_have_no_part_in_the_mean_of_their_camera(gallery_folder):
    vectors = random_vectors(50)
    with Gallery(gallery_folder) as gallery:
        fill(gallery, vectors, crops_of(50, ("door",)))
        gallery.statistics()
        gallery.erasure.withdraw([*range(1, 21)])
        stored = vectors[20:] / np.linalg.norm(vectors[20:], axis=1, keepdims=True)
        assert np.allclose(gallery.statistics().means.mean(1), stored.mean(axis=0), atol=1e-3)
        gallery.erasure.withdraw([*range(21, 32)])
        assert gallery.statistics().means.mean(1) is None  # 19 crops are too few


def test_hidden_sightings_come_back_by_undo(filled):
    gallery, _ = filled
    gallery.erasure.hide([5])
    assert gallery.search(IMAGES[4], count=100).total == 39
    gallery.people.undo(gallery.people.events()[0].id)
    assert gallery.search(IMAGES[4], count=1).candidates[0].sighting.id == 5


def test_an_interrupted_erasure_is_finished_at_the_next_opening(filled, monkeypatch):
    gallery, _ = filled
    needles = pieces(gallery, [6])

    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("rewho.gallery.erasure._finish", stop)
    with pytest.raises(KeyboardInterrupt):
        gallery.erasure.forget([6])
    monkeypatch.undo()
    gallery.close()
    with Gallery(gallery.folder, "cpu") as opened:
        assert left(opened.folder, needles) == 0
        content = json.loads(opened.database.one("SELECT content FROM receipts")[0])["content"]
        assert content["rewritten"] is True
        assert "interrupted" in content


def test_a_source_is_unsearchable_at_its_date_and_gone_after_the_job(gallery_folder):
    clock = Clock()
    with Gallery(gallery_folder, clock=clock) as gallery:
        fill(gallery, random_vectors(9), name="kept")
        writer = gallery.writer("dated", gallery.model_sha256)
        crops = crops_of(5, first=500)
        writer.write([Embedded(crop, vector, None) for crop, vector in zip(crops, random_vectors(5, 2), strict=True)])
        with gallery.database.writing() as link:
            link.execute("UPDATE sources SET expires = ? WHERE path = 'dated'", (clock.now + 100,))
        assert gallery.search(sightings=[1]).total == 13
        clock.now += 101
        assert gallery.search(sightings=[1]).total == 8
        assert len(gallery) == 14
        receipts = gallery.erasure.expire()
        assert receipts[0]["content"]["sightings"] == [10, 11, 12, 13, 14]
        assert len(gallery) == 9
        assert gallery.erasure.expire() == []


def test_evidence_is_complete_and_every_change_of_it_is_found(filled, tmp_path):
    gallery, _ = filled
    case = gallery.cases.open("theft", "find the bag")
    gallery.cases.collect(case, [3, 8], "with the bag")
    out = gallery.cases.export(case, tmp_path / "case.zip", by=Actor("officer", "court"))
    assert check_export(out) == []
    with zipfile.ZipFile(out) as archive:
        names = archive.namelist()
        files = {name: archive.read(name) for name in names}
    assert sum(name.endswith(".jpg") for name in names) == 2
    content = json.loads(files["manifest.json"])["content"]
    assert (content["exported by"], content["purpose"]) == ("officer", "court")
    assert gallery.audit(action="export")[0].ids["sightings"] == [3, 8]
    for name in names:
        broken = tmp_path / "broken.zip"
        with zipfile.ZipFile(broken, "w") as archive:
            for other, data in files.items():
                archive.writestr(other, data.replace(data[30:31], b"~", 1) if other == name else data)
        assert check_export(broken) != []


def test_terms_are_needed(gallery_folder, tmp_path, tiny_model):
    with Gallery.create(tmp_path / "bare", tiny_model) as gallery:
        file = tmp_path / "a.png"
        file.write_bytes(encode(IMAGES[0], "png"))
        with pytest.raises(UserError, match="nothing on name, source, licence, purpose"):
            gallery.add(file)
        assert gallery.add(file, terms=TERMS).crops == 1


def test_thumbnails_that_look_alike_are_told_apart(tmp_path):
    """The header of a scan and two bytes of data once were a window: in a gallery of a street others had the same."""
    rng = np.random.default_rng(1)
    plain = np.linspace(90, 140, 96)[:, None, None] + np.zeros((96, 48, 3))
    images = []
    for _ in range(60):
        image = plain + rng.normal(0, 2, (96, 48, 3))
        image[30:80, 12:36] += rng.normal(0, 40, (50, 24, 3))
        images.append(cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8))[1].tobytes())
    others = b"".join(images[1:])
    assert len(Pieces(images[:1])) > 10
    assert Pieces(images[:1]).find(others) == []
    assert len(Pieces(images[:1]).find(images[0])) == len(Pieces(images[:1]))
