"""Shares of a training set against the published lists and counts, and held-out people."""

import json
import unicodedata
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.core.people import DISTRACTOR, JUNK
from rewho.data.datasets import read_settings
from rewho.data.scored_part import scored_part
from rewho.data.share_lists import keep_identities, keep_images, read_identity_list, read_image_list
from rewho.data.shares import even_counts, select_share
from rewho.data.splits import hold_out, training_rows
from rewho.data.table import ImageTable
from rewho.settings import DataSettings

SETS = ["market1501", "msmt17", "cuhk03_np_labeled", "cuhk03_np_detected"]
SHARES = ["0.10", "0.20", "0.30", "0.40", "0.50", "0.60", "0.70", "0.80", "0.90", "1.00"]


@pytest.fixture(scope="module")
def golden(shared):
    return shared / "golden" / "splits"


@pytest.fixture(scope="module")
def published(golden):
    """Name -> the training table as published (names only)."""
    tables = {}
    for name in SETS:
        full = np.load(golden / "few_ims" / f"{name}.npz", allow_pickle=False)
        names = tuple(full["name"].tolist())
        tables[name] = ImageTable(name, Path(), names, full["pid"], full["camera0"], ("train",) * len(names))
    return tables


@pytest.fixture(scope="module")
def counts(golden):
    return json.loads((golden / "counts.json").read_text())


def small(splits=None):
    """Ten people; person p has p + 1 images, in two cameras by turns; a distractor and a query besides."""
    people = [person for person in range(1, 11) for _ in range(person + 1)]
    cameras = [i % 2 for person in range(1, 11) for i in range(person + 1)]
    paths = tuple(f"{i:03}.jpg" for i in range(len(people) + 2))
    splits = splits or ("train",) * len(people) + ("gallery", "query")
    return ImageTable("small", Path(), paths, [*people, DISTRACTOR, 99], [*cameras, 0, 1], splits)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("share", SHARES)
def test_sizes_are_the_published_ones(published, counts, name, share):
    table, expected = published[name], counts[name]
    by_identity = select_share(table, float(share), "identities", seed=3)
    assert len(np.unique(by_identity.person_ids)) == expected["few_ids"][share]["identities"]
    by_image = select_share(table, float(share), "images", seed=3)
    assert len(by_image) == expected["few_ims"][share]["images"]
    assert len(np.unique(by_image.person_ids)) == expected["few_ims"][share]["identities"]
    assert np.unique(by_image.person_ids, return_counts=True)[1].max() == expected["few_ims"][share]["largest_count"]


@pytest.mark.parametrize("by", ["identities", "images"])
def test_shares_are_nested_for_one_seed_and_differ_between_seeds(published, by):
    table = published["market1501"]
    kept = [set(select_share(table, share, by, seed=5).paths) for share in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)]
    assert all(smaller < larger for smaller, larger in pairwise(kept))
    assert kept[0] == set(select_share(table, 0.1, by, seed=5).paths)
    assert kept[0] != set(select_share(table, 0.1, by, seed=6).paths)


def test_identities_keep_all_their_images_and_the_order(published):
    table = published["cuhk03_np_detected"]
    kept = select_share(table, 0.3, "identities")
    assert kept.digest() == table.rows(np.isin(table.person_ids, np.unique(kept.person_ids))).digest()


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.77, 1.0])
def test_images_are_evened_out(published, share):
    table = published["cuhk03_np_labeled"]
    available = np.unique(table.person_ids, return_counts=True)[1]
    kept = np.unique(select_share(table, share, "images", seed=2).person_ids, return_counts=True)[1]
    level = kept.max()
    assert (kept >= 1).all()
    assert ((kept == np.minimum(available, level)) | (kept == np.minimum(available, level - 1))).all()


def test_the_published_few_shot_lists_are_as_even_as_ours(golden, published):
    rows = np.load(golden / "few_ims" / "market1501.npz", allow_pickle=False)["rows_0.30"]
    theirs = np.unique(published["market1501"].person_ids[rows], return_counts=True)[1]
    ours = np.unique(select_share(published["market1501"], 0.3, "images").person_ids, return_counts=True)[1]
    assert np.sort(theirs).tolist() == np.sort(ours).tolist()


def test_even_counts_by_hand():
    order = np.arange(3)
    assert even_counts(np.array([5, 1, 4]), 3, order).tolist() == [1, 1, 1]
    assert even_counts(np.array([5, 1, 4]), 4, order).tolist() == [2, 1, 1]
    assert even_counts(np.array([5, 1, 4]), 9, order).tolist() == [4, 1, 4]
    assert even_counts(np.array([5, 1, 4]), 10, order).tolist() == [5, 1, 4]
    assert even_counts(np.array([5, 1, 4]), 2, np.array([2, 0, 1])).tolist() == [1, 0, 1]


def test_shares_leave_query_and_gallery_alone():
    table = small()
    for by in ("identities", "images"):
        kept = select_share(table, 0.3, by)
        assert kept.splits[-2:] == ("gallery", "query")
        assert kept.person_ids[-2:].tolist() == [DISTRACTOR, 99]
    assert len(np.unique(select_share(table, 0.3).select("train").person_ids)) == 3


def test_decimal_shares_are_exact():
    names = tuple(f"{i}.jpg" for i in range(100))
    table = ImageTable("hundred", Path(), names, np.arange(100), [0] * 100, ("pool",) * 100)
    assert int(100 * 0.29) == 28
    assert len(select_share(table, 0.29)) == 29


def test_reading_the_published_lists(golden, published, counts):
    for name in SETS:
        people = read_identity_list(golden / "few_ids" / name / "used_ids_0.10.txt")
        kept = keep_identities(published[name], people)
        assert len(people) == counts[name]["few_ids"]["0.10"]["identities"]
        assert len(kept) == counts[name]["few_ids"]["0.10"]["images"]
        images = read_image_list(golden / "few_ims" / f"{name}_used_ims_0.10.txt")
        few = keep_images(published[name], images)
        rows = np.load(golden / "few_ims" / f"{name}.npz", allow_pickle=False)["rows_0.10"]
        assert few.digest() == published[name].rows(rows).digest()


@pytest.mark.parametrize("text", ["", "\n \n", "12\nabc\n", "-1\n", "0002.jpg; 0; 0\n", "1" * 30])
def test_wrong_identity_lists(tmp_path, text):
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(UserError, match=r"ids\.txt"):
        read_identity_list(tmp_path / "ids.txt")


@pytest.mark.parametrize("text", ["", "12\n", "a.jpg; 0\n", "a.jpg; x; 0\n", "; 0; 0\n"])
def test_wrong_image_lists(tmp_path, text):
    (tmp_path / "images.txt").write_text(text)
    with pytest.raises(UserError, match=r"images\.txt"):
        read_image_list(tmp_path / "images.txt")


def test_wrong_lines_are_numbered_as_an_editor_does(tmp_path):
    (tmp_path / "ids.txt").write_text("\n12\n\nabc\n")
    with pytest.raises(UserError, match="line 4: abc"):
        read_identity_list(tmp_path / "ids.txt")
    (tmp_path / "images.txt").write_text("\na.jpg; 0; 0\n\na.jpg; x;0\n")
    with pytest.raises(UserError, match=r"line 4: a\.jpg; x;0"):
        read_image_list(tmp_path / "images.txt")


def test_lists_of_another_data_set_are_refused():
    with pytest.raises(UserError, match="2 of 3 that are not in it: '500', '501'"):
        keep_identities(small(), [1, 500, 501])
    with pytest.raises(UserError, match=r"1 of 2 that are not in it: 'zzz\.jpg'"):
        keep_images(small(), ["000.jpg", "zzz.jpg"])


def test_a_list_is_used_where_a_share_is(shared, counts, golden):
    for name, root in (("market1501", "market1501"), ("cuhk03_np_detected", "cuhk03-np/detected")):
        data = DataSettings(root=shared / "data" / root)
        data = replace(data, share_list=golden / "few_ids" / name / "used_ids_0.10.txt")
        training = read_settings(data).select("train")
        expected = counts[name]["few_ids"]["0.10"]
        assert len(np.unique(training.person_ids)) == expected["identities"]
        assert len(training) == expected["images"]
        assert name != "market1501" or (expected["identities"], expected["images"]) == (75, 1170)
    images = golden / "few_ims" / "market1501_used_ims_0.10.txt"
    few = read_settings(DataSettings(root=shared / "data" / "market1501", share_list=images)).select("train")
    assert {PurePosixPath(path).name for path in few.paths} == set(read_image_list(images))
    assert len(few) == 1293 and len(np.unique(few.person_ids)) == 751


def own_folder(root, people=("a", "b")):
    """A folder of people with two images each, and a CSV list of the same people under numbers."""
    rows = [f"{name}/{number}.jpg,{person}" for person, name in enumerate(people, 1) for number in (1, 2)]
    for row in rows:
        file = root / "people" / row.split(",")[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (root / "people" / "list.csv").write_text("\n".join(["path,person", *rows]))
    return root / "people"


def test_wrong_uses_of_a_list(tmp_path):
    file, root = tmp_path / "list.txt", own_folder(tmp_path)
    numbered, named = DataSettings(root=root / "list.csv", share_list=file), DataSettings(root=root, share_list=file)
    file.write_text("2\n")
    assert len(read_settings(numbered)) == 2
    with pytest.raises(UserError, match=r"--data\.share: expected 1, its default, beside share_list, got 0\.5"):
        read_settings(replace(numbered, share=0.5))
    with pytest.raises(UserError, match="names instead of numbers"):
        read_settings(named)
    file.write_text("2\n77\n")
    with pytest.raises(UserError, match=r"--data\.share_list[\s\S]*1 of 2 that are not in it: '77'"):
        read_settings(numbered)
    file.write_text("3.jpg; 0; 0\n1.jpg; 1; 0\n")
    with pytest.raises(UserError, match=r"1 of 2 that are not in it: '3\.jpg'"):
        read_settings(named)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, 10, float("nan")])
def test_shares_out_of_range(share):
    with pytest.raises(UserError, match=r"^--data\.share: expected a number above 0, at most 1"):
        select_share(small(), share)


def test_a_share_that_leaves_nobody():
    with pytest.raises(UserError, match=r"^--data\.share: expected enough to keep one of 10 people"):
        select_share(small(), 0.05)
    assert len(select_share(small(), 0.01, "images").select("train")) == 10


def check_hold_out(table, identities):
    people = {split: set(table.select(split).person_ids.tolist()) for split in ("train", "query", "gallery")}
    assert not people["train"] & people["query"]
    assert people["query"] == people["gallery"]
    assert len(people["query"]) == identities
    query, gallery = table.select("query"), table.select("gallery")
    pairs = list(zip(query.person_ids.tolist(), query.camera_ids.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    for person, camera in pairs:
        assert ((gallery.person_ids == person) & (gallery.camera_ids != camera)).any()


def test_hold_out_makes_queries_that_can_be_found():
    table = small()
    held = hold_out(table, 4, seed=7)
    check_hold_out(held, 4)
    assert held.paths == table.paths[:-2]  # the table's own query and gallery are gone
    assert held.name == "small-held-out-4"
    assert set(hold_out(table, 2, seed=7).select("query").paths) < set(held.select("query").paths)
    assert held.digest() == hold_out(table, 4, seed=7).digest() != hold_out(table, 4, seed=8).digest()


def test_hold_out_takes_one_query_per_camera_with_two_images():
    """Person 1 is seen once by each of two cameras, so nothing of theirs can be query and gallery both."""
    held = hold_out(small(), 9)
    assert set(held.select("train").person_ids.tolist()) == {1}
    queries = held.select("query")
    per_person = {person: int((queries.person_ids == person).sum()) for person in range(2, 11)}
    assert per_person == {2: 1} | dict.fromkeys(range(3, 11), 2)
    with pytest.raises(UserError, match=r"^--data\.hold_out: expected at least 1, at most 9"):
        hold_out(small(), 10)
    with pytest.raises(UserError, match="at least 1"):
        hold_out(small(), 0)


def test_hold_out_without_cameras_takes_one_query_of_each_person():
    table = small()
    blind = ImageTable("blind", Path(), table.paths, table.person_ids, [-1] * len(table), table.splits)
    held = hold_out(blind, 9)
    queries, gallery = held.select("query"), held.select("gallery")
    assert len(queries) == 9 == len(set(queries.person_ids.tolist())) == len(set(gallery.person_ids.tolist()))
    single = ImageTable("single", Path(), ("a", "b", "c", "d"), [1, 2, 2, 3], [-1] * 4, ("pool",) * 4)
    assert hold_out(single, 1).select("query").person_ids.tolist() == [2]
    with pytest.raises(UserError, match=r"at most 1: 1 of 3 people have two images"):
        hold_out(single, 2)


def test_hold_out_refuses_cameras_of_some_images_only():
    table = small()
    some = ImageTable("some", Path(), table.paths, table.person_ids, [-1, *table.camera_ids[1:]], table.splits)
    with pytest.raises(UserError, match=r"camera of every image, or of none, to .*got 1 of 65 images without"):
        hold_out(some, 2)


def test_hold_out_and_shares_need_training_images():
    table = small().select("query")
    junk = ImageTable("junk", Path(), ("a.jpg",), [JUNK], [0], ("train",))
    for empty in (table, junk):
        with pytest.raises(UserError, match="training images"):
            hold_out(empty, 1)
        with pytest.raises(UserError, match="training images"):
            select_share(empty, 0.5)


def test_hold_out_on_market1501(published):
    held = hold_out(published["market1501"], 250)
    check_hold_out(held, 250)
    assert len(np.unique(held.select("train").person_ids)) == 501


def files_of(folder, rows):
    """Write small files of given contents, and return their table; rows are (path, content, person, camera, split)."""
    for path, content, *_ in rows:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(content)
    paths, _, people, cameras, splits = zip(*rows, strict=True)
    return ImageTable("files", folder, paths, people, cameras, splits)


def test_a_pool_beside_other_splits_is_refused():
    with pytest.raises(UserError, match=r"1 of 2, such as 'b\.jpg'"):
        ImageTable("mixed", Path(), ("a.jpg", "b.jpg"), [1, 2], [0, 0], ("train", "pool"))


def test_one_rule_for_junk_in_training_and_queries(tmp_path):
    rows = [("1", "1", 1, 0), ("2", "2", JUNK, 0), ("3", "3", DISTRACTOR, 0), ("4", "4", 2, 0)]
    pool = files_of(tmp_path, [(*row, "pool") for row in rows])
    assert training_rows(pool).tolist() == [0, 3]
    part = scored_part(pool)
    assert (part.query.paths, part.gallery.paths, part.query_rows.tolist()) == (("1", "4"), pool.paths, [0, 3])
    (tmp_path / "list.csv").write_text("path,person\n" + "".join(f"{path},{person}\n" for path, _, person, _ in rows))
    table = read_settings(DataSettings(tmp_path / "list.csv"))
    assert len(training_rows(table)) == 2
    assert any(note.startswith("2 junk or distractor images in pool are not trained on") for note in table.notes)


def test_copies_are_left_out_of_the_ranking(tmp_path):
    table = files_of(tmp_path, [
        ("t1", "one", 1, 0, "train"), ("t2", "two", 2, 0, "train"),
        ("q1", "one", 5, 0, "query"), ("q2", "x", 5, 0, "query"), ("q3", "y", 6, 0, "query"),
        ("g1", "x", 5, 1, "gallery"), ("g2", "z", 5, 1, "gallery"), ("g3", "two", 6, 1, "gallery"),
        ("g4", "z", 6, 1, "gallery"),
    ])  # fmt: skip
    part = scored_part(table)
    assert (part.query.paths, part.gallery.paths) == (("q2", "q3"), ("g1", "g2", "g4"))
    assert part.query_names[0] == part.gallery_names[0] != part.query_names[1]
    said = "\n".join(part.notes)
    assert "1 query and 1 gallery files have the bytes of training files" in said
    assert "1 queries have byte-identical copies in the gallery" in said
    assert "1 gallery files are byte-identical copies of other gallery files" in said
    assert "1 byte-identical images are of two people by their labels" in said
    with pytest.raises(UserError, match="no person in query and gallery may be in train"):
        scored_part(table.rows([0, 2, 5]))


def test_a_list_matches_whole_paths_never_base_names(tmp_path):
    table = files_of(tmp_path, [(f"{who}/{n}.jpg", "", i, 0, "train") for i, who in enumerate("ab") for n in (1, 2)])
    assert keep_images(table, ["a/1.jpg", "./b/2.jpg"]).paths == ("a/1.jpg", "b/2.jpg")
    with pytest.raises(UserError, match=r"'1\.jpg', which is 'a/1\.jpg', 'b/1\.jpg'"):
        keep_images(table, ["1.jpg"])
    with pytest.raises(UserError, match=r"not in it: 'c/1\.jpg'"):
        keep_images(table, ["c/1.jpg"])


def test_a_list_finds_images_whose_names_have_another_unicode_form():
    paths = tuple(unicodedata.normalize("NFD", name) for name in ("é/1.jpg", "ö.jpg", "ü.jpg"))
    table = ImageTable("t", Path(), paths, [1, 2, 3], [0, 0, 0], ("train",) * 3)
    assert keep_images(table, ["é/1.jpg", "ü.jpg"]).paths == (paths[0], paths[2])
