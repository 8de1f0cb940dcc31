"""Search equals a NumPy scan of the rows that the filters leave: same rows, same order, ties by id."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.crops.writer import encode
from rewho.data.images import decode
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Actor, Filters, Found
from rewho.gallery.tables import search_text
from small_gallery import TERMS, Clock, crops_of, fill, random_vectors

COUNT = 400
CAMERAS = ("door", "yard", "lift", "roof")


def oracle(gallery, query, keep, *, normalise):
    """Return (ids, similarities) of all kept sightings, the best first, computed from the stored bytes by NumPy."""
    kind = np.dtype(gallery.precision)
    rows = gallery.database.rows("SELECT id, camera, crops, embedding FROM sightings ORDER BY id")
    stored = np.array([np.frombuffer(row[3], kind) for row in rows], np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    ids, cameras = np.array([row[0] for row in rows]), np.array([row[1] or -1 for row in rows])
    weights = np.array([row[2] for row in rows], float)
    at = int(np.flatnonzero(ids == query)[0])
    enough = {camera for camera in set(cameras) - {-1} if weights[cameras == camera].sum() >= 20}
    if normalise and cameras[at] in enough:
        means = {one: np.average(stored[cameras == one], axis=0, weights=weights[cameras == one]) for one in enough}
        stored = stored - np.array([means.get(camera, means[cameras[at]]) for camera in cameras])
        stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    similarity = stored @ stored[at]
    rows = [row for row in range(len(ids)) if keep(row) and row != at]
    order = sorted(rows, key=lambda row: (-round(similarity[row], 12), ids[row]))
    return ids[order].tolist(), similarity[order]


@pytest.fixture(params=["float16", "float32"])
def gallery(request, tiny_model, tmp_path):
    with Gallery.create(tmp_path / "g", tiny_model, terms=TERMS, precision=request.param, clock=Clock()) as made:
        vectors = random_vectors(COUNT)
        vectors[50] = vectors[10]  # equal rows, so that ties are met
        vectors[300] = vectors[10]
        vectors += np.repeat(random_vectors(4, seed=9), COUNT // 4, axis=0)[np.argsort(np.arange(COUNT) % 4)]
        crops = crops_of(COUNT, CAMERAS)
        fill(made, vectors[:-10], crops[:-10])
        fill(made, vectors[-10:], crops_of(10, ("new",), first=COUNT))  # a camera without statistics
        yield made


@pytest.mark.parametrize("normalise", [False, True])
def test_random_filtered_searches_equal_brute_force(gallery, normalise):
    rng = np.random.default_rng(3)
    rows = gallery.database.rows(
        "SELECT s.id, c.name, s.began, s.ended FROM sightings s JOIN cameras c ON c.id = s.camera ORDER BY s.id"
    )
    for _ in range(30):
        query = int(rng.integers(1, COUNT + 1))
        cameras = tuple(rng.choice(CAMERAS, rng.integers(0, 4), replace=False))
        after, before = rng.choice([None, 1_700_000_000.0 + 3600 * float(rng.integers(COUNT))], 2)
        count = int(rng.integers(1, 50))

        def keep(row, cameras=cameras, after=after, before=before):
            _, camera, began, ended = rows[row]
            inside = (after is None or ended >= after) and (before is None or began < before)
            return inside and (not cameras or camera in cameras)

        filters = Filters(cameras=cameras, after=after, before=before)
        wanted, similarity = oracle(gallery, query, keep, normalise=normalise)
        first = gallery.search(sightings=[query], count=count, filters=filters, normalise=normalise)
        assert first.total == len(wanted)
        found = list(first.candidates)
        if first.after is not None:
            found += gallery.search(
                search=first.search, count=count, filters=filters, normalise=normalise, after=first.after
            ).candidates
        assert [one.sighting.id for one in found] == wanted[: len(found)]
        assert len(found) == min(2 * count, len(wanted)) or (len(found) == count == len(wanted))
        assert np.allclose([one.similarity for one in found], similarity[: len(found)], atol=1e-9)


def test_equal_similarities_are_ordered_by_id_over_pages(tiny_model, tmp_path):
    with Gallery.create(tmp_path / "g", tiny_model, terms=TERMS) as gallery:
        fill(gallery, np.tile(random_vectors(1), (30, 1)))
        seen, after = [], None
        while page := gallery.search(sightings=[7], count=4, after=after).candidates:
            seen += [one.sighting.id for one in page]
            after = (page[-1].similarity, page[-1].sighting.id)
        assert seen == [number for number in range(1, 31) if number != 7]


def test_a_query_without_statistics_is_compared_plainly_on_both_sides(gallery):
    new = gallery.database.one("SELECT min(s.id) FROM sightings s JOIN cameras c ON c.id = s.camera WHERE c.name='new'")
    found = gallery.search(sightings=[new[0]], count=9)
    assert not found.normalised
    assert "fewer than 20 crops" in found.notes[0]
    wanted, _ = oracle(gallery, new[0], lambda row: True, normalise=False)
    assert [one.sighting.id for one in found.candidates] == wanted[:9]


def test_what_lies_outside_a_users_cameras_is_not_seen_counted_or_searched_with(gallery, tiny_model, tmp_path):
    number = dict(gallery.database.rows("SELECT name, id FROM cameras"))
    guard = Actor("guard", cameras=frozenset({number["door"], number["lift"]}))
    found = gallery.search(sightings=[1], count=1000, by=guard)
    assert {one.sighting.camera for one in found.candidates} == {"door", "lift"}
    assert found.total == len(found.candidates)
    with pytest.raises(UserError, match="no such sighting"):
        gallery.search(sightings=[2], by=guard)
    with pytest.raises(UserError, match="expected a camera of the gallery"):
        gallery.search(sightings=[1], filters=Filters(cameras=("yard",)), by=guard)
    with pytest.raises(UserError, match="no such search"):
        gallery.search(search=found.search, by=Actor("other", cameras=guard.cameras))
    # The same gallery without the other cameras gives the same similarities: nothing of them is in the scores.
    vectors, crops = [], []
    for row in gallery.database.rows(
        "SELECT s.embedding, c.name, s.began, s.id FROM sightings s JOIN cameras c ON c.id = s.camera ORDER BY s.id"
    ):
        if row[1] in ("door", "lift"):
            vectors.append(np.frombuffer(row[0], np.dtype(gallery.precision)).astype(np.float32))
            crops += crops_of(1, (row[1],), first=row[3])
    with Gallery.create(tmp_path / "part", tiny_model, terms=TERMS, precision="float32") as part:
        fill(part, np.array(vectors), crops)
        alone = part.search(sightings=[1], count=1000)
    assert len(alone.candidates) == len(found.candidates)
    assert np.allclose(
        [one.similarity for one in alone.candidates], [one.similarity for one in found.candidates], atol=1e-6
    )


def test_results_follow_what_another_handle_adds(gallery, tmp_path):
    before = gallery.search(sightings=[1], count=1000)
    copy = Gallery(gallery.folder)
    fill(copy, random_vectors(7, seed=8), crops_of(7, CAMERAS, first=5000))
    copy.close()
    assert gallery.search(sightings=[1], count=1000).total == before.total + 7


def test_new_leaves_out_what_was_shown_or_judged(gallery):
    first = gallery.search(sightings=[1], count=5)
    again = gallery.search(sightings=[1], count=5, filters=Filters(new=True))
    shown = {one.sighting.id for one in first.candidates}
    assert shown.isdisjoint(one.sighting.id for one in again.candidates)
    other = gallery.search(sightings=[1], count=5, filters=Filters(new=True), by=Actor("somebody else"))
    assert {one.sighting.id for one in other.candidates} == shown


def test_refused_pairs_never_come_back_in_either_direction(gallery):
    refused = set()
    for query in range(1, 6):
        found = gallery.search(sightings=[query], count=6)
        verdicts = {one.sighting.id: "no" for one in found.candidates[:3]}
        gallery.judge(found.search, verdicts)
        refused |= {(query, other) for other in verdicts}
    assert len(refused) == 15
    for one, other in refused:
        for query, gone in ((one, other), (other, one)):
            everything = gallery.search(sightings=[query], count=1000)
            assert gone not in {found.sighting.id for found in everything.candidates}
    assert refused <= {pair for link in gallery.links().cannot for pair in (link, link[::-1])}


def test_images_find_their_own_sighting_and_keep_their_judgements(gallery_folder, tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (30, 64, 32, 3), np.uint8)
    files = []
    for number, pixels in enumerate(images):
        files.append(tmp_path / f"{number:02d}_c{number % 2}.png")
        files[-1].write_bytes(encode(pixels, "png"))
    with Gallery(gallery_folder, "cpu") as gallery:
        added = gallery.add(files, pattern=r"_c(?P<camera>\d)")
        assert (added.crops, added.present) == (30, 0)
        assert gallery.add(files, pattern=r"_c(?P<camera>\d)").present == 30
        assert gallery.thumbnail(5)[:2] == b"\xff\xd8"
        found = gallery.search(images[4], count=3)
        assert found.candidates[0].sighting.id == 5
        assert found.candidates[0].similarity > 0.999
        said = search_text(found, {}, "my gallery").splitlines()
        header = ["sighting", "cosine", "camera", "crops", "crop"]
        assert header in [line.split() for line in said], "columns that tell nothing are left out"
        assert said[-1] == "see them: rewho serve 'my gallery'"
        boxed = np.zeros((200, 100, 3), np.uint8)
        boxed[20:84, 30:62] = images[4]
        assert gallery.search(boxed, box=(30, 20, 62, 84)).candidates[0].sighting.id == 5
        gallery.judge(found.search, {5: "no"})
        assert 5 not in {one.sighting.id for one in gallery.search(files[4], count=100).candidates}
        crops = gallery.search(sightings=[3], per="crop", count=100)
        assert len(crops.candidates) == 29


def test_filters_that_leave_nobody_are_named():
    nobody = Found(1, (), 0, False, None, (), "hash", 1)
    assert "look at the filters; times without a zone are of --zone" in search_text(nobody, {})
    assert "look at the filters" not in search_text(replace(nobody, total=5), {})


def test_an_image_is_known_by_its_file_however_it_is_decoded(gallery, tmp_path):
    rng = np.random.default_rng(5)
    photo = cv2.resize(rng.integers(0, 255, (30, 20, 3), np.uint8), (800, 1200), interpolation=cv2.INTER_CUBIC)
    content = encode(photo, 95)
    file = tmp_path / "photo.jpg"
    file.write_bytes(content)
    query, box = gallery.query(content), (0, 0, 800, 1200)
    assert gallery.query(file).key == query.key
    decoded = gallery.query(decode(content))
    assert decoded.key != query.key, "pixels are known by themselves"
    boxed = gallery.query(content, box=box)
    assert boxed.key not in (query.key, gallery.query(content, box=(0, 0, 400, 1200)).key)
    assert boxed.former == decoded.key, "the same pixels were the same query"
    found = gallery.search(content)
    best = found.candidates[0].sighting.id
    gallery.judge(found.search, {best: "no"})
    assert best not in {one.sighting.id for one in gallery.search(file, count=COUNT).candidates}
    assert best in {one.sighting.id for one in gallery.search(content, box=box, count=COUNT).candidates}


def test_a_no_of_the_time_when_images_were_known_by_their_pixels_is_kept(gallery):
    small = encode(np.random.default_rng(5).integers(0, 255, (96, 48, 3), np.uint8), 95)
    found = gallery.search(decode(small))
    best = found.candidates[0].sighting.id
    gallery.judge(found.search, {best: "no"})
    assert best not in {one.sighting.id for one in gallery.search(small, count=COUNT).candidates}
    assert best not in {one.sighting.id for one in gallery.search(small, filters=Filters(new=True)).candidates}
