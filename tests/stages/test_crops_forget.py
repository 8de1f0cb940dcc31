"""Forgetting crops: they are in no byte of the set, nothing brings them back, a kill leaves one set or the other."""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from fake_people import FakePeople, build_crops, settings, tree, write_videos

from rewho.core.artifact import hash_file, write_json
from rewho.core.check import UserError
from rewho.core.record import read_sealed
from rewho.core.signing import check_receipt, make_key, sign
from rewho.crops import forget as module
from rewho.crops.forget import NOTE, forget, read_receipt
from rewho.crops.forget_choice import find_keys
from rewho.crops.set_page import TERMS, build_page
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.statistics import read_videos
from rewho.crops.suppression import FORGOTTEN
from rewho.crops.verify import verify
from rewho.settings import CropsSettings, SelectionSettings
from rewho.stages import crop, crops


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return build_crops(tmp_path_factory.mktemp("made"))


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "crops"))


def images(folder: Path) -> dict[str, bytes]:
    crops_ = CropSet.open(folder)
    return {crops_.name(row): crops_.bytes(row) for row in range(len(crops_))}


def holders(folder: Path, wanted: dict[str, bytes]) -> list[tuple[str, str]]:
    """Return files that hold the middle of an image, read by other code than that which is tested."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    contents = {file.name: file.read_bytes() for file in files}
    pieces = {name: data[len(data) // 2 :][:40] for name, data in wanted.items()}
    return [(file, name) for file, data in contents.items() for name, piece in pieces.items() if piece in data]


def call(folder: Path, *others: Path, **chosen) -> str:
    return str(crops.run(CropsSettings("forget", (folder, *others), runs=folder.parent / "runs", **chosen)))


def test_forgotten_crops_are_nowhere_and_the_others_are_as_before(copy):
    before = images(copy)
    names = list(before)[3:40:7]
    gone = {name: before.pop(name) for name in names}
    assert len({file for file, _ in holders(copy, gone)}) == 1
    text = call(copy, names=tuple(names))
    assert f"{len(gone)} crops forgotten" in text and "none left" in text
    assert images(copy) == before
    assert holders(copy, gone) == []
    assert verify(copy) == []
    assert sum(one["crops"] for one in read_videos(copy)) == len(before)
    assert f"{len(before):,} crops" in (copy / "index.html").read_text()
    assert not (copy / NOTE).exists()


def test_a_shard_without_crops_goes_and_later_ones_keep_their_names(copy):
    video = read_videos(copy)[0]["sha256"]
    call(copy, videos=(video[:8],))
    assert len(CropSet.open(copy).contents.shards) == 1
    everyone = tuple(one["sha256"][:12] for one in read_videos(copy)[1:])
    call(copy, videos=everyone)
    assert len(CropSet.open(copy)) == 0 and len(list((copy / "receipts").glob("*.json"))) == 2
    assert list((copy / "shards").iterdir()) == []


def test_neither_the_same_command_nor_repair_nor_merge_brings_them_back(made, copy, tmp_path):
    before = images(copy)
    name = next(iter(before))
    video = Path(read_videos(copy)[0]["path"])
    call(copy, names=(name,))
    after = tree(copy)
    run_settings = settings(video.parent, copy)
    assert crop.run(run_settings, FakePeople()) == copy
    assert tree(copy) == after
    shard = next((copy / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    crops.run(CropsSettings("verify", (copy,), repair=True), FakePeople())
    assert tree(copy) == after
    both = tmp_path / "both"
    crops.run(CropsSettings("merge", (made, copy), out=both))
    assert set(images(both)) == set(before) - {name}
    again = tmp_path / "again"
    crops.run(CropsSettings("merge", (made, both), out=again))
    assert set(images(again)) == set(before) - {name}
    assert holders(again, {name: before[name]}) == []


def test_a_video_that_is_cut_again_lacks_what_is_forgotten(tmp_path):
    """Parts are made again for a set of which some video had failed."""
    videos = write_videos(tmp_path / "videos", 2)
    (videos / "v009.mp4").write_text(json.dumps({"seed": 9, "frames": 4, "people": 3, "poison": True}))
    asked = settings(videos, tmp_path / "crops", workers=1, failure_limit=1.0)
    with pytest.raises(Exception, match="ended their process"):
        crop.run(asked, FakePeople())
    before = images(tmp_path / "crops")
    name = next(iter(before))
    call(tmp_path / "crops", names=(name,))
    assert holders(tmp_path / "crops", {name: before[name]}) == []
    Path(videos, "v009.mp4.antidote").touch()
    crop.run(settings(videos, tmp_path / "crops", workers=1, failure_limit=1.0, retry=True), FakePeople())
    after = images(tmp_path / "crops")
    assert len(after) > len(before) and name not in after
    assert set(before) - set(after) == {name}
    assert verify(tmp_path / "crops") == []
    assert read_sealed(tmp_path / "crops" / FORGOTTEN)["keys"]


def test_a_receipt_is_signed_and_the_set_says_when_it_was_changed(copy):
    names = list(images(copy))
    call(copy, names=(names[0],))
    receipt, key = copy / "receipts" / "0001.json", copy / "receipts" / "key"
    signed = json.loads(receipt.read_bytes())
    assert check_receipt(signed) and signed["content"]["crops"] == 1
    assert key.stat().st_mode & 0o777 == 0o600
    write_json(receipt, {**signed, "content": {**signed["content"], "crops": 7}})
    assert [str(one) for one in verify(copy)] == ["receipts/0001.json is not as it was signed"]
    write_json(receipt, sign(make_key(), signed["content"]))
    assert [one.file for one in verify(copy)] == ["receipts/0001.json"]


def test_page_and_data_sheet_name_the_list_of_videos_that_is_there(copy):
    call(copy, names=(next(iter(images(copy))),))
    (there,) = copy.glob("videos*.parquet")
    assert f"{there.name} the refusals" in (copy / "datasheet.md").read_text()
    terms, figures = dict.fromkeys(("name", *TERMS), "x"), json.loads((copy / "statistics.json").read_text())
    page = build_page(terms, figures, 201 * read_videos(copy)[:1], b"", (), there.name)
    assert f"1 more in {there.name}" in re.sub(r"\s+", " ", page)


def test_models_trained_on_the_set_are_named(copy):
    runs, first = copy.parent / "runs", hash_file(copy / INDEX)
    write_json(runs / "one" / "model.json", {"trained_on": {"sources": [{"kind": "crop set", "sha256": first}]}})
    write_json(
        runs / "two" / "model.json", {"provenance": {"before": {"trained_on": {"sources": [{"sha256": first}]}}}}
    )
    write_json(runs / "three" / "run.json", {"settings": {"data": {"root": [str(copy)]}}, "inputs": {}})
    write_json(runs / "other" / "model.json", {"trained_on": {"sources": [{"sha256": "0" * 64}]}})
    names = list(images(copy))
    for name in names[:2]:  # also the second time, when the set has another hash already
        text = call(copy, names=(name,))
        assert [one for one in ("one", "two", "three", "other") if f"{runs / one} was" in text] == [
            "one",
            "two",
            "three",
        ]


def test_what_is_not_there_is_refused_and_nothing_is_touched(copy):
    before = tree(copy)
    for chosen in ({"names": ("nobody",)}, {"videos": ("v999.mp4",)}, {"tracks": ("v000.mp4:77",)}, {}):
        with pytest.raises(UserError, match="rewho crops forget"):
            call(copy, **chosen)
    with pytest.raises(UserError, match="a colon and a number"):
        call(copy, tracks=("v000.mp4",))
    assert tree(copy) == before


def test_a_copy_in_a_file_of_somebody_else_is_found_and_the_erasure_can_be_finished(copy):
    name, data = next(iter(images(copy).items()))
    (copy / "kept.bin").write_bytes(bytes(100) + data[200:])
    with pytest.raises(UserError, match=r"a piece of a forgotten image at byte \d+ of kept.bin"):
        call(copy, names=(name,))
    assert name not in images(copy)
    assert NOTE in [one.file for one in verify(copy)]
    (copy / "kept.bin").unlink()
    assert "1 crop forgotten" in call(copy)
    assert verify(copy) == [] and holders(copy, {name: data}) == []


def test_what_kept_crops_share_with_a_forgotten_one_is_no_piece_of_it(tmp_path):
    """A camera that stands still gives crops of equal bytes."""
    keep = SelectionSettings(near_duplicates="keep")
    asked = settings(write_videos(tmp_path / "videos", 1, still=True), tmp_path / "crops", selection=keep)
    folder = crop.run(asked, FakePeople())
    before = images(folder)
    name = next(iter(before))
    assert sum(data == before[name] for data in before.values()) > 1
    call(folder, names=(name,))
    assert set(images(folder)) == set(before) - {name}
    receipt = read_receipt(folder / "receipts" / "0001.json")
    assert receipt["pieces that kept crops share"] > receipt["pieces"] > 0 == receipt["found"]


def test_without_its_list_of_hashes_a_set_is_damaged(copy):
    call(copy, names=(next(iter(images(copy))),))
    (copy / FORGOTTEN).unlink()
    assert FORGOTTEN in [one.file for one in verify(copy)]
    with pytest.raises(UserError, match="hashes of what was forgotten"):
        crops.run(CropsSettings("merge", (copy, copy), out=copy.parent / "both"))


STEPS = ("write_file", "write_videos", "write_description", "write_json", "scan_folder", "compute_hashes")


def forget_until_killed(folder: Path, keys: list[str], left: int) -> bool:
    """Forget in a forked process that kills itself before the step of number `left`; return whether it was killed."""
    child = os.fork()
    if child == 0:

        def counting(function):
            def counted(*given, **named):
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return function(*given, **named)

            return counted

        for name in STEPS:
            setattr(module, name, counting(getattr(module, name)))
        Path.unlink, Path.replace = counting(Path.unlink), counting(Path.replace)
        try:
            forget(folder, keys)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_kill_anywhere_leaves_the_set_before_or_after_and_the_next_call_finishes(tmp_path):
    made = crop.run(settings(write_videos(tmp_path / "videos", 2, frames=3), tmp_path / "made"), FakePeople())
    before = images(made)
    names = list(before)[::9]
    keys = sorted({key for found in find_keys(made, names).values() for key in found})
    after = {name: data for name, data in before.items() if name not in names}
    seen = set()
    for left in range(200):
        folder = Path(shutil.copytree(made, tmp_path / str(left)))
        killed = forget_until_killed(folder, keys, left)
        now = images(folder)
        assert now in (before, after)
        seen.add(len(now))
        if not killed:
            break
        forget(folder, keys if not (folder / NOTE).exists() else ())
        assert images(folder) == after
        assert holders(folder, {name: before[name] for name in names}) == []
        assert verify(folder) == []
        shutil.rmtree(folder)
    assert left >= 15 and seen == {len(before), len(after)}
