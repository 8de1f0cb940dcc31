"""Tracks of image files: Market-1501's names, and lists of one's own."""

from pathlib import Path

import pytest

from rewho.core.check import UserError
from rewho.data.image_list import read_image_list
from rewho.data.tracks import find_tracks
from rewho.tasks.unlabelled import open_images


def write_list(folder: Path, text: str) -> Path:
    for name in "abcd":
        (folder / f"{name}.jpg").write_bytes(b"x" + name.encode())
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def test_a_person_in_a_sequence_of_a_camera_is_a_track_until_nobody_comes_for_long():
    names = [f"bounding_box_train/{name}_00.jpg" for name in (
        "0007_c1s1_000100", "0007_c1s1_000125", "0007_c2s1_000125", "0007_c1s2_000150", "0009_c1s1_000125",
        "0007_c1s1_000400", "0007_c1s1_000375",
    )]  # fmt: skip
    tracks = find_tracks(names)
    same = {number: [row for row, one in enumerate(tracks.numbers) if one == number] for number in set(tracks.numbers)}
    assert sorted(same.values()) == [[0, 1, 5, 6], [2], [3], [4]]  # 10 s from 125 to 375 still belong together
    assert tracks.times[1] - tracks.times[0] == 1.0
    assert find_tracks(["0007_c1s1_000100_00.jpg", "0007_c1s1_000351_00.jpg"]).numbers.tolist() == [0, 1]
    assert find_tracks(["0002_c1_f0044158.jpg"]).numbers.tolist() == [-1]


def test_a_list_gives_tracks_and_times_and_no_labels_are_needed(tmp_path, capsys):
    text = "path;track;time;split\na.jpg;x 1;0;train\nb.jpg;x 1;2.5;train\nc.jpg;;;train\nd.jpg;x 1;9;query\n"
    found = read_image_list(write_list(tmp_path, text))
    assert found.paths == ("a.jpg", "b.jpg", "c.jpg")
    assert found.tracks.numbers.tolist() == [0, 0, -1] and found.tracks.times[:2].tolist() == [0.0, 2.5]
    assert "left out: 1 image of query and gallery" in capsys.readouterr().err
    images = open_images([tmp_path / "list.csv"])
    assert len(images) == 3 and images.tracks().numbers.tolist() == [0, 0, -1]
    assert images.share(0.7, 1).tracks().numbers.size == 2
    other = open_images([write_list(tmp_path, text.replace("x 1;2.5", "y;2.5"))])
    assert other.digest != images.digest, "other tracks are other data"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image,track\na.jpg,1\n", "a column path"),
        ("path,track\na.jpg,1\na.jpg,1\n", "each image once"),
        ("path,track,time\na.jpg,1,noon\n", "a time in seconds"),
        ("path,track\nz.jpg,1\n", "paths of images"),
        ("path\n../a.jpg\n", "inside the list's folder"),
    ],
)
def test_mistakes_in_a_list_are_named(tmp_path, text, expected):
    with pytest.raises(UserError, match=expected):
        read_image_list(write_list(tmp_path, text))
