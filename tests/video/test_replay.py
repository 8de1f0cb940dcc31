"""Files of detections: both layouts, golden clip, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewho.core.check import UserError
from rewho.video.people import Frame
from rewho.video.replay import Replay, parse_detections
from rewho.video.rules import judge


def frame(number: int, size: tuple[int, int] = (360, 640)) -> Frame:
    return Frame(number, number / 25, np.zeros((*size, 3), np.uint8))


def test_golden_clip(shared: Path) -> None:
    """The published layout: frame 1 is our frame 0, and the kept objects keep their numbers, gaps and all."""
    golden = shared / "golden" / "builder"
    expected = json.loads((golden / "detections_clip_expected.json").read_text())
    detector = Replay(golden / "detections_clip.json")
    detector.begin(Path("clip.mp4"))
    people = detector.detect([frame(number) for number in (0, 100, 200)])
    assert [len(found) for found in people] == list(expected["persons_per_frame"].values())
    kept = [
        (number, one.person.index)
        for number, found in zip((0, 100, 200), people, strict=True)
        for one in judge(found, (360, 640))
        if not one.reasons
    ]
    assert kept == [(crop["frame_index_0based_luperson"], crop["object_index"]) for crop in expected["crops"]]
    assert people[0][0].keypoints.shape == (17, 3)
    assert detector.detect([frame(50)]) == [[]]
    other = Replay(golden / "detections_clip.json", first_frame=0)  # LUPerson-NL's numbers
    other.begin(Path("clip.mp4"))
    assert len(other.detect([frame(101)])[0]) == 3


def test_mot_ground_truth_and_detections() -> None:
    truth = parse_detections(
        b"1,4,10,20,30,60,1,1,0.9\n1,5,0,0,9,9,0,1,1\n1,6,0,0,9,9,1,7,1\n2,4,11,20,30,60,1,1,.8\n", "x"
    )
    assert {number: [one.index for one in found] for number, found in truth.items()} == {1: [4], 2: [4]}
    assert truth[1][0].box == (10.0, 20.0, 40.0, 80.0)
    assert truth[1][0].confidence == 1.0
    found = parse_detections(b"3,-1,912.8,482.9,97.6,112.6,0.97\n3,-1,1,1,5,5,-0.3\n", "x")[3]
    assert [(one.index, one.confidence) for one in found] == [(0, 0.97), (1, 0.0)]
    assert found[0].keypoints is None


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95 pickled",
        b"(dp0\nI1\n",
        b"PK\x03\x04",
        b'{"1": [[0, {"bbox": [0, 0, 1], "conf": 0.5}]]}',
        b'{"1": [[0, {"conf": 0.5}]]}',
        b'{"1": [[0, {"bbox": [0, 0, 1, NaN], "conf": 0.5}]]}',
        b'{"1": [[0, {"bbox": [0, 0, 1, 1], "conf": 0.5, "pose": [[0, 0]], "prob": [[1]]}]]}',
        b'{"one": []}',
        b'{"1": 5}',
        b"[" * 100_000,
        b"{" * 100_000,
        b'{"1":' + b"[" * 100_000,
        b"1,2,3\n",
        b"a,b,c,d,e,f\n",
        b"1,1,nan,0,1,1\n",
        b"\xff\xfe\x00",
    ],
)
def test_other_files_are_refused_with_a_reason(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="Fix:") as refusal:
        Replay(path).begin(Path("clip.mp4"))
    assert ("pickle" in str(refusal.value)) == (content[:1] in (b"\x80", b"(", b"P"))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["1", "bbox", "conf"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["1", "2", "bbox", "conf", "pose"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.dictionaries(st.just("1"), JSON).map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_people_or_a_refusal(content: bytes) -> None:
    try:
        people = parse_detections(content, "any.json")
    except UserError:
        return
    assert all(np.isfinite(one.box).all() for found in people.values() for one in found)


def test_each_video_finds_its_file(tmp_path: Path) -> None:
    line = b"1,%d,0,0,50,100,1,1,1\n"
    for order, name in enumerate(("a.detections.json", "b.json", "c.gt.txt", "d.mp4.json", "e.txt")):
        content = (
            line % (order + 1)
            if name.endswith("txt")
            else b'{"1": [[%d, {"bbox": [0,0,5,9], "conf": 1}]]}' % (order + 1)
        )
        (tmp_path / name).write_bytes(content)
    for place in (None, tmp_path):
        folder = tmp_path if place is None else Path("elsewhere")
        detector, found = Replay(place), []
        for name in "abcde":
            detector.begin(folder / f"{name}.mp4")
            found.append(detector.detect([frame(0)])[0][0].index)
        assert found == [1, 2, 3, 4, 5]
    with pytest.raises(UserError, match=r"other\.detections\.json"):
        Replay(None).begin(tmp_path / "other.mp4")
