"""Crop sets on disk: every crop comes back as it went in, from any process, and the same crops make the same bytes."""

import hashlib
import multiprocessing
import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rewho.core.artifact import hash_file, write_json
from rewho.core.check import UserError
from rewho.core.record import read_sealed, seal
from rewho.crops.rows import import_pyarrow, row_schema, rows_table
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.writer import ShardWriter, crop_row, encode


def image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (12 + number % 5, 6 + number % 3, 3), np.uint8)


def some_crops(count: int, start: int = 0):
    """Return manifest rows and encoded images of noise, without loss."""
    pixels = [image(number) for number in range(start, start + count)]
    data = [encode(one, "png") for one in pixels]
    rows = [
        crop_row(f"crop-{start + i:05d}", data[i], pixels[i], frame=100 * (start + i), video="ab" * 32)
        for i in range(count)
    ]
    return rows_table(rows), data


def written(folder: Path, count: int, step: int, shard_rows: int) -> CropSet:
    """Write a set, handing its crops over `step` at a time."""
    writer = ShardWriter(folder, shard_rows=shard_rows)
    for start in range(0, count, step):
        writer.add(*some_crops(min(step, count - start), start))
    return writer.commit({"encoding": "png"})


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> CropSet:
    return written(tmp_path_factory.mktemp("sets") / "set", 2503, 700, 1200)


def test_every_crop_comes_back_from_anywhere(crops):
    assert len(crops) == 2503
    assert [shard.crops for shard in crops.contents.shards] == [1200, 1200, 103]
    again = CropSet.open(crops.folder)
    for row in (0, 1, 999, 1000, 1199, 1200, 2199, 2200, 2400, 2502, -1):
        assert np.array_equal(again[row], image(row % 2503))
        assert again.name(row) == f"crop-{row % 2503:05d}"
        assert hashlib.sha256(again.bytes(row)).hexdigest() == again.manifest(["sha256"])["sha256"][row % 2503].as_py()
    with pytest.raises(IndexError):
        again[2503]
    assert sum(len(batch) for number in range(3) for batch in again.batches_of(number)) == 2503


def test_rows_say_what_the_images_are(crops):
    rows = crops.manifest()
    assert rows.schema.equals(row_schema(), check_metadata=False)
    assert rows["name"].to_pylist() == [f"crop-{row:05d}" for row in range(2503)]
    for row in (0, 1199, 1200, 2502):
        one = {name: rows[name][row].as_py() for name in rows.column_names}
        pixels = image(row).astype(np.int64)
        assert (one["height"], one["width"]) == pixels.shape[:2]
        assert one["channel_sum"] == pixels.sum((0, 1)).tolist()
        assert one["channel_square_sum"] == (pixels**2).sum((0, 1)).tolist()
        assert one["bytes"] == len(crops.bytes(row))
        assert one["keypoints"] is None


def test_bytes_do_not_depend_on_how_crops_were_handed_over(crops, tmp_path):
    for step in (1, 999, 1000, 2503):
        if step == 1:
            few = [tree(written(tmp_path / f"few-{i}", 25, i, 10).folder) for i in (1, 4, 25)]
            assert few[0] == few[1] == few[2]
        else:
            assert tree(written(tmp_path / str(step), 2503, step, 1200).folder) == tree(crops.folder)


def read_in_another_process(crops: CropSet, row: int, answers: multiprocessing.Queue) -> None:
    answers.put((crops.bytes(row), len(crops)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_worker_processes_read_the_same(crops, method):
    crops.bytes(3)  # opened here first
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    workers = [context.Process(target=read_in_another_process, args=(crops, row, answers)) for row in (5, 5)]
    for worker in workers:
        worker.start()
    results = [answers.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
    assert results == [(crops.bytes(5), 2503)] * 2


def test_a_pickled_set_holds_no_open_file(crops):
    crops.bytes(0)
    again = pickle.loads(pickle.dumps(crops))
    assert again.bytes(7) == crops.bytes(7)
    assert len(pickle.dumps(crops)) < 2000


def test_adding_leaves_old_files_alone_and_shows_at_once(tmp_path):
    before = written(tmp_path / "set", 30, 30, 20)
    files = tree(before.folder)
    writer = ShardWriter(before.folder, append=True, shard_rows=20)
    writer.add(*some_crops(5, start=100))
    assert len(CropSet.open(before.folder)) == 30
    after = writer.commit()
    assert len(after) == len(CropSet.open(before.folder)) == 35
    assert after.name(34) == "crop-00104"
    assert after.contents.about == {"encoding": "png"}
    assert {name: value for name, value in tree(before.folder).items() if name in files and name != INDEX} == {
        name: value for name, value in files.items() if name != INDEX
    }
    assert len(before) == 30 and before.name(29) == "crop-00029", "a reader keeps what it opened"


def test_a_second_set_in_a_folder_is_refused(crops):
    with pytest.raises(UserError, match="without a crop set"):
        ShardWriter(crops.folder)


def test_an_empty_set_is_a_set(tmp_path):
    empty = ShardWriter(tmp_path / "set").commit()
    assert len(empty) == 0 and empty.manifest().num_rows == 0
    assert empty.manifest(["frame"]).column_names == ["frame"]


def test_what_is_no_set_is_refused(tmp_path, crops):
    with pytest.raises(UserError, match="crop set"):
        CropSet.open(tmp_path)
    text = (crops.folder / INDEX).read_text()
    for number in range(0, len(text), 97):
        flipped = text[:number] + chr(ord(text[number]) ^ 1) + text[number + 1 :]
        (tmp_path / INDEX).write_text(flipped)
        with pytest.raises(UserError, match="verify"):
            CropSet.open(tmp_path)


@pytest.mark.parametrize("field", ["name", "images", "rows"])
@pytest.mark.parametrize(
    "name", ["x/../../victim", "/etc/passwd", "a\\..\\b", "C:x", "a\0b", "", ".", "x" * 256, 7, None]
)
def test_an_index_names_nothing_outside_its_folder(tmp_path, crops, field, name):
    content = read_sealed(crops.folder / INDEX)
    content["shards"][0][field] = name
    write_json(tmp_path / INDEX, seal(content))
    with pytest.raises(UserError, match=r"a name in .*index\.json"):
        CropSet.open(tmp_path)


def test_a_link_out_of_the_set_is_not_followed(tmp_path):
    crops = written(tmp_path / "set", 30, 30, 20)
    (crops.folder / "shards").rename(tmp_path / "elsewhere")
    (crops.folder / "shards").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a link that leaves it"):
        CropSet.open(crops.folder)


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_damage_is_found_when_it_is_first_read(tmp_path):
    crops = written(tmp_path / "set", 30, 30, 20)
    first = crops.folder / crops.contents.shards[0].images
    whole = first.read_bytes()
    flip(first, whole.index(crops.bytes(3)) + 60)
    again = CropSet.open(crops.folder)
    assert again[2].shape == image(2).shape
    with pytest.raises(UserError, match="as crop 3"):
        again[3]
    with pytest.raises(UserError, match="crop-00003"):
        list(again.batches_of(0))
    first.write_bytes(whole)
    rows = crops.folder / crops.contents.shards[1].rows
    flip(rows, 900)
    with pytest.raises(UserError, match="expected the rows that were written"):
        CropSet.open(crops.folder)[25]


def test_swapped_shards_are_found(tmp_path):
    crops = written(tmp_path / "set", 40, 40, 20)
    one, other = ((crops.folder / shard.images) for shard in crops.contents.shards)
    one.rename(tmp_path / "aside"), other.rename(one), (tmp_path / "aside").rename(other)
    with pytest.raises(UserError, match="other bytes as crop 0"):
        CropSet.open(crops.folder)[0]


def test_no_flipped_byte_of_a_shard_goes_unnoticed_or_ends_the_process(tmp_path):
    crops = written(tmp_path / "set", 12, 12, 20)
    pixels = [crops[row].tobytes() for row in range(12)]
    file = crops.folder / crops.contents.shards[0].images
    whole, found = file.read_bytes(), 0
    for place in range(0, len(whole), 41):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
        again = CropSet.open(crops.folder)
        try:
            assert [again[row].tobytes() for row in range(12)] == pixels, "the byte was one that nothing reads"
        except UserError:
            found += 1
    assert found > 50


def test_a_shard_that_is_cut_is_an_error_that_says_what_to_do(tmp_path):
    crops = written(tmp_path / "set", 30, 30, 20)
    shard = crops.folder / crops.contents.shards[1].images
    shard.write_bytes(shard.read_bytes()[:-200])
    assert CropSet.open(crops.folder)[3].shape == image(3).shape
    with pytest.raises(UserError, match=r"verify .* --repair"):
        CropSet.open(crops.folder)[25]


def test_one_crop_is_found_without_reading_others(crops):
    rows = np.random.default_rng(1).integers(0, len(crops), 2_000).tolist()
    for row in rows[:100]:
        crops.bytes(row)
    began = time.process_time()
    for row in rows:
        crops.bytes(row)
    assert (time.process_time() - began) / len(rows) < 2e-3, "about 4 µs on one machine; 5 ms from Parquet"


HUGE = 4_200_000
OPEN_HUGE = """
import resource, sys, time
from rewho.crops.shards import CropSet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.monotonic()
crops = CropSet.open(sys.argv[1])
count = len(crops)
people = crops.manifest(["frame", "width", "quality"])
print(count, len(people), time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_manifest_of_four_million_rows(tmp_path):
    pa = import_pyarrow()
    rows, data = some_crops(10_000)
    rows = rows.set_column(
        rows.column_names.index("box"), "box", pa.array([[1.5, 2.5, 60.5, 180.5]] * 10_000, pa.list_(pa.float32(), 4))
    )
    rows = rows.cast(row_schema())
    writer = ShardWriter(tmp_path / "huge")
    for _ in range(HUGE // 10_000):
        writer.add(rows, data)
    writer.commit()
    call = [sys.executable, "-c", OPEN_HUGE, str(tmp_path / "huge")]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    count, read, seconds, kilobytes = (float(word) for word in done.stdout.split())
    assert count == read == HUGE
    assert seconds <= 5
    assert kilobytes <= 2e6
    began = time.monotonic()
    writer = ShardWriter(tmp_path / "huge", append=True)
    writer.add(rows.slice(0, 100), data[:100])
    writer.commit()
    assert time.monotonic() - began <= 1
    assert len(CropSet.open(tmp_path / "huge")) == HUGE + 100
    print(f"open, count and read 3 columns: {seconds:.2f} s, {kilobytes / 1e6:.2f} GB")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4e6


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", [7]),
        ("video", [None]),
        ("frame", None),
        ("other_heads", [[1.0, 2.0]]),
        ("other_heads", [[1e30] * 4]),
        ("other_heads", [[float("nan")] * 4]),
        ("keypoints", [[1e30] * 51]),
    ],
)
def test_sealed_rows_that_no_crop_has_are_refused(tmp_path, column, value):
    crops = written(tmp_path, 1, 1, 10)
    pa, shard = import_pyarrow(), crops.contents.shards[0]
    rows, content = crops.manifest(), read_sealed(tmp_path / INDEX)
    at, kind = rows.schema.get_field_index(column), None if value == [7] else rows.schema.field(column).type
    rows = rows.drop_columns([column]) if value is None else rows.set_column(at, column, pa.array(value, kind))
    pa.parquet.write_table(rows, tmp_path / shard.rows)
    content["shards"][0]["rows_sha256"] = hash_file(tmp_path / shard.rows)
    write_json(tmp_path / INDEX, seal(content))
    with pytest.raises(UserError, match=column):
        CropSet.open(tmp_path).manifest([column])


@pytest.mark.parametrize("about", [{"videos": "x"}, {"terms": [1]}, {"settings": None}])
def test_a_sealed_index_with_other_kinds_of_values_is_refused(tmp_path, about):
    written(tmp_path, 1, 1, 10)
    content = read_sealed(tmp_path / INDEX)
    write_json(tmp_path / INDEX, seal({**content, "about": about}))
    with pytest.raises(UserError, match="no objects"):
        CropSet.open(tmp_path)
