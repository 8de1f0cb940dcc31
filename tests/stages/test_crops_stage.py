"""Looking after crop sets: any flipped byte is found, only what is damaged is built again, and exports hide faces."""

import json
import random
import re
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_people import FakePeople, build_crops, settings, tree, write_videos

from rewho import cli
from rewho.core.artifact import write_json
from rewho.core.check import UserError
from rewho.core.record import read_sealed, seal
from rewho.crops.export import export
from rewho.crops.joining import select_crops
from rewho.crops.rows import rows_table
from rewho.crops.shards import INDEX, CropSet
from rewho.crops.verify import verify
from rewho.crops.writer import ShardWriter, crop_row, encode, example_set
from rewho.data.images import decode
from rewho.settings import CropsSettings
from rewho.stages import crop, crops
from rewho.video.people import Verdict


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return build_crops(tmp_path_factory.mktemp("made"))


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "crops"))


def flip(file: Path, place: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << bit
    file.write_bytes(data)


def test_a_flipped_byte_anywhere_is_found_in_the_file_where_it_is(copy):
    assert verify(copy) == []
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert len(files) >= 9
    draw, named = random.Random(1), 0
    for number in range(100):
        file = files[number % len(files)]
        whole = file.read_bytes()
        flip(file, draw.randrange(len(whole)), draw.randrange(8))
        found = verify(copy)
        name = file.relative_to(copy).as_posix()
        assert name in [one.file for one in found], (name, found)
        if file.suffix == ".arrow":
            named += any(one.crops for one in found)
        file.write_bytes(whole)
    assert named > 5, "a damaged image is named, unless the byte lay between images"
    assert verify(copy) == []


def test_the_damaged_crop_is_named(copy):
    whole = CropSet.open(copy)
    file = copy / whole.contents.shards[0].images
    flip(file, file.read_bytes().index(whole.bytes(17)) + 100)
    assert [one.crops for one in verify(copy)] == [(whole.name(17),)]
    with pytest.raises(UserError, match=f"{whole.name(17)}.*"):
        crops.run(CropsSettings("verify", (copy,)))


@pytest.mark.parametrize("kind", ["images", "rows", "contact-sheet.jpg", "statistics.json"])
def test_repair_gives_back_the_same_bytes_and_leaves_the_rest_alone(kind, copy, made):
    shard = CropSet.open(copy).contents.shards[0]
    name = getattr(shard, kind, kind)
    times = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    flip(copy / name, 1000)
    settled = CropsSettings("verify", (copy,), repair=True)
    assert "every byte" in str(crops.run(settled, FakePeople()))
    assert tree(copy) == tree(made)
    changed = {path for path, before in times.items() if path.stat().st_mtime_ns != before}
    assert copy / name in changed
    assert not changed & {copy / INDEX, copy / "manifest.json", copy / "videos.parquet"}


class OtherPeople(FakePeople):
    def models(self) -> tuple[str, str]:
        return "another detector", "none"


def test_repair_never_gives_something_else(copy):
    shard = CropSet.open(copy).contents.shards[0]
    flip(copy / shard.images, 5000)
    damaged = tree(copy)
    with pytest.raises(UserError, match="have changed"):
        crops.run(CropsSettings("verify", (copy,), repair=True), OtherPeople())
    flip(copy / shard.rows, 500)
    with pytest.raises(UserError, match="damage to both"):
        crops.run(CropsSettings("verify", (copy,), repair=True), FakePeople())
    flip(copy / shard.rows, 500)
    assert tree(copy) == damaged
    flip(copy / INDEX, 50)
    with pytest.raises(UserError, match="intact lists"):
        crops.run(CropsSettings("verify", (copy,), repair=True), FakePeople())


def test_a_missing_file_is_damage(copy):
    (copy / "videos.parquet").unlink()
    (copy / "manifest.json").unlink()
    assert {one.file for one in verify(copy)} == {"videos.parquet", "manifest.json"}


def test_statistics_are_those_of_the_build(made):
    assert json.loads(str(crops.run(CropsSettings("stats", (made,))))) == json.loads(
        (made / "statistics.json").read_text()
    )


def changed_share(one: np.ndarray, other: np.ndarray) -> float:
    return float((np.abs(one.astype(int) - other).max(-1) > 25).mean())


def test_exports_hide_faces_unless_told_otherwise(made, tmp_path, capsys):
    whole = CropSet.open(made)
    hidden = crops.run(CropsSettings("export", (made,), out=tmp_path / "hidden"))
    assert "export with --blur_faces false" in capsys.readouterr().err
    plain = crops.run(CropsSettings("export", (made,), out=tmp_path / "plain", blur_faces=False))
    assert "blur_faces" not in capsys.readouterr().err
    for row in range(0, len(whole), 7):
        name = f"{whole.name(row)}.jpg"
        assert (plain / name).read_bytes() == whole.bytes(row)
        image = decode(hidden / name)
        third = image.shape[0] // 3
        assert changed_share(image[:third], whole[row][:third]) > 0.2
        assert changed_share(image[-third:], whole[row][-third:]) < 0.2, "only what encoding noise again changes"
    assert len(list(hidden.glob("*.jpg"))) == len(whole)
    assert (hidden / "crops.csv").read_bytes().startswith(b"image,name,video,")
    assert (hidden / "crops.csv").read_text().count("\n") == len(whole) + 1
    with pytest.raises(UserError, match="that is there"):
        crops.run(CropsSettings("export", (made,), out=tmp_path / "plain"))


def test_a_damaged_image_is_not_exported(copy, tmp_path):
    whole = CropSet.open(copy)
    file = copy / whole.contents.shards[0].images
    flip(file, file.read_bytes().index(whole.bytes(17)) + 100)
    with pytest.raises(UserError, match="expected the image that its row describes, of crop"):
        export(CropSet.open(copy), tmp_path / "out", "jpeg")
    assert not (tmp_path / "out").exists()


def renamed(folder: Path, name: str) -> Path:
    """Return a crop set of two, one of which has this name, with every hash as it has to be."""
    writer = ShardWriter(folder)
    whole = CropSet.open(example_set(folder.with_name("example")))
    rows = whole.manifest().set_column(0, "name", [[name, "b"]])
    writer.add(rows, [whole.bytes(0), whole.bytes(1)])
    writer.commit({"terms": {}})
    return folder


@pytest.mark.parametrize("layout", ["jpeg", "market", "webdataset"])
@pytest.mark.parametrize("name", ["../../x", "/tmp/rewho-x", "a/b", "a\\..\\b", "..", "a\0b", "\x1b[2Jx", "x" * 256])
def test_no_row_names_a_file_elsewhere(tmp_path, name, layout):
    made = renamed(tmp_path / "set", name)
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"a name in .*parquet: expected a plain file name"):
        crops.run(CropsSettings("export", (made,), out=tmp_path / "deep" / "out", layout=layout))
    assert tree(tmp_path) == before, "nothing was written anywhere"


@pytest.mark.parametrize("name", ["x/../../victim", "../victim", "/victim", "victim"])
def test_a_repair_touches_nothing_outside_the_set(copy, tmp_path, name):
    victim = tmp_path / "victim" / "precious.txt"
    victim.parent.mkdir()
    victim.write_text("mine")
    content = read_sealed(copy / INDEX)
    content["shards"][0]["name"] = name
    write_json(copy / INDEX, seal(content))
    (copy / ".repair").symlink_to(victim.parent)
    flip(copy / content["shards"][0]["images"], 5000)
    with pytest.raises(UserError):
        crops.run(CropsSettings("verify", (copy,), repair=True), FakePeople())
    assert victim.read_text() == "mine" and len(list(victim.parent.iterdir())) == 1


@pytest.mark.parametrize("name", ["../victim.txt", "/etc/hostname", "shards/../../victim.txt"])
def test_a_manifest_names_nothing_outside_its_folder(copy, tmp_path, name):
    (tmp_path / "victim.txt").write_text("mine")
    content = json.loads((copy / "manifest.json").read_text())
    del content["seal"]
    content["files"][name] = content["files"].pop("statistics.json")
    write_json(copy / "manifest.json", seal(content))
    with pytest.raises(UserError, match="a plain path within its folder"):
        crops.run(CropsSettings("verify", (copy,), repair=True), FakePeople())
    assert (tmp_path / "victim.txt").read_text() == "mine"


def test_neither_a_merge_nor_a_join_takes_flipped_crops(made, copy, tmp_path):
    whole = CropSet.open(copy)
    file = copy / whole.contents.shards[0].images
    flip(file, file.read_bytes().index(whole.bytes(17)) + 100)
    other = crop.run(settings(write_videos(tmp_path / "videos", 1, frames=2), tmp_path / "other"), FakePeople())
    with pytest.raises(UserError, match=f"of crop {whole.name(17)}"):
        crops.run(CropsSettings("merge", (copy, other), out=tmp_path / "merged"))
    assert not (tmp_path / "merged" / INDEX).exists()
    with pytest.raises(UserError, match=f"of crop {whole.name(17)}"):
        for _ in select_crops(CropSet.open(copy), np.ones(len(whole), bool)):
            pass


def test_exports_in_other_layouts(made, tmp_path):
    whole = CropSet.open(made)
    market = crops.run(CropsSettings("export", (made,), out=tmp_path / "market", layout="market"))
    names = sorted(path.name for path in (market / "bounding_box_train").iterdir())
    assert len(names) == len(whole) and names[0] == "0000001_c1s1_000000_00.jpg"
    tar = crops.run(CropsSettings("export", (made,), out=tmp_path / "set.tar", layout="webdataset"))
    with tarfile.open(tar) as archive:
        members = archive.getnames()
        note = json.loads(archive.extractfile(members[1]).read())
    assert members[:2] == [f"{whole.name(0)}.jpg", f"{whole.name(0)}.json"] and len(members) == 2 * len(whole)
    assert note["licence"] == "CC0-1.0" and note["video"][:16] == whole.name(0)[:16]


class SameNumber(FakePeople):
    """A source in which everybody in a frame has the number 4, as a tracker's file may have it."""

    def _person(self, random, index: int, still: bool) -> Verdict:
        judged = super()._person(random, index, still)
        return replace(judged, person=replace(judged.person, index=4))


def test_crops_of_one_number_in_one_frame_get_names_of_their_own(tmp_path):
    folder = crop.run(settings(write_videos(tmp_path / "videos", 1), tmp_path / "crops"), SameNumber())
    whole = CropSet.open(folder)
    names = [whole.name(row) for row in range(len(whole))]
    assert len(set(names)) == len(names) == 12
    assert [name[-3:] for name in names[:4]] == ["004", "005", "004", "005"]
    assert verify(folder) == []
    plain = export(whole, tmp_path / "plain", "jpeg")
    assert len(list(plain.rglob("*.jpg"))) == 12


def test_a_name_of_two_crops_is_damage(tmp_path):
    writer = ShardWriter(tmp_path)
    for grey in (60, 61):
        pixels = np.full((8, 4, 3), grey, np.uint8)
        data = encode(pixels)
        writer.add(rows_table([crop_row("twice", data, pixels)]), [data])
    writer.commit()
    assert [str(one) for one in verify(tmp_path)] == [f"{INDEX} has 1 names of more than one crop: twice"]


def test_sets_are_merged_and_common_crops_enter_once(made, tmp_path):
    more = write_videos(tmp_path / "videos", 6)
    larger = crop.run(settings(more, tmp_path / "larger"), FakePeople())
    merged = crops.run(CropsSettings("merge", (made, larger), out=tmp_path / "merged"))
    whole = CropSet.open(merged)
    assert len(whole) == len(CropSet.open(larger)) == 72
    assert len(set(whole.manifest(["name"])["name"].to_pylist())) == 72
    assert verify(merged) == []
    with pytest.raises(UserError, match="files in it"):
        crops.run(CropsSettings("merge", (made, larger), out=tmp_path / "merged"))
    text = str(crops.run(CropsSettings("overlap", (made, larger))))
    assert text.startswith("in both sets, or nearly: 48 images")


def test_the_command_line_takes_action_and_folders(made, capsys):
    assert cli.main(["crops", "verify", str(made)]) == 0
    assert "48 crops" in capsys.readouterr().out
    assert cli.main(["crops", "merge", str(made)]) == cli.USER_MISTAKE
    assert "2 folders or more" in capsys.readouterr().err
    assert cli.main(["crops", "verfiy", str(made)]) == cli.USER_MISTAKE
    assert "Did you mean 'verify'" in capsys.readouterr().err
    assert cli.main(["crops", "stats", str(made / "nothing")]) == cli.USER_MISTAKE


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ("verify", {"folders", "repair"}),
        ("stats", {"folders"}),
        ("merge", {"folders", "out"}),
        ("export", {"folders", "out", "layout", "people", "blur_faces"}),
        ("overlap", {"folders", "distance"}),
        ("forget", {"folders", "names", "videos", "tracks", "runs"}),
        (
            "verfiy",
            {"action", "folders", "out", "layout", "people", "blur_faces", "repair", "distance"}
            | {"names", "videos", "tracks", "runs"},
        ),
    ],
)
def test_each_action_has_a_help_of_its_own(action, options, capsys):
    assert cli.main(["crops", action, "--help"]) == 0
    text = capsys.readouterr().out
    assert set(re.findall(r"^  --(\w+)", text, re.MULTILINE)) - {"recipe", "smoke", "print_config"} == options
    assert text.startswith(f"rewho crops {action}: " if action != "verfiy" else "rewho crops: ")
