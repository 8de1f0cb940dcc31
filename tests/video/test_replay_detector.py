"""Files of detections: both layouts, golden clip, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewho.core.check import UserError
from rewho.settings import DetectorSettings
from rewho.video.people import Frame
from rewho.video.replay_detector import ReplayDetector, load_detector, parse_detections
from rewho.video.rules import apply_rules


def frame(number: int, size: tuple[int, int] = (360, 640)) -> Frame:
    return Frame(number, number / 25, np.zeros((*size, 3), np.uint8))


def test_golden_clip(shared: Path) -> None:
    """The published layout: frame 1 is our frame 0, and the kept objects keep their numbers, gaps and all."""
    golden = shared / "golden" / "builder"
    expected = json.loads((golden / "detections_clip_expected.json").read_text())
    detector = ReplayDetector(golden / "detections_clip.json")
    detector.begin(Path("clip.mp4"))
    people = detector.detect([frame(number) for number in (0, 100, 200)])
    assert [len(found) for found in people] == list(expected["persons_per_frame"].values())
    kept = [
        (number, one.person.index)
        for number, found in zip((0, 100, 200), people, strict=True)
        for one in apply_rules(found, (360, 640))
        if not one.reasons
    ]
    assert kept == [(crop["frame_index_0based_luperson"], crop["object_index"]) for crop in expected["crops"]]
    assert people[0][0].keypoints.shape == (17, 3)
    assert detector.detect([frame(50)]) == [[]]
    other = ReplayDetector(golden / "detections_clip.json", first_frame=0)  # LUPerson-NL's numbers
    other.begin(Path("clip.mp4"))
    assert len(other.detect([frame(101)])[0]) == 3


def test_mot_ground_truth_and_detections() -> None:
    truth = parse_detections(
        b"1,4,10,20,30,60,1,1,0.9\n1,5,0,0,9,9,0,1,1\n1,6,0,0,9,9,1,7,1\n2,4,11,20,30,60,1,1,.8\n", "x"
    ).people
    assert {number: [one.index for one in found] for number, found in truth.items()} == {1: [4], 2: [4]}
    assert truth[1][0].box == (10.0, 20.0, 40.0, 80.0)
    assert truth[1][0].confidence == 1.0
    found = parse_detections(b"3,-1,912.8,482.9,97.6,112.6,0.97\n3,-1,1,1,5,5,-0.3\n", "x").people[3]
    assert [(one.index, one.confidence) for one in found] == [(0, 0.97), (1, 0.0)]
    assert found[0].keypoints is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"1,3,10,20,30,60,0.87,-1,-1,-1\n", [(3, 0.87)]),  # a tracker's output
        (b"1,3,10,20,30,60,0.87,-1,-1\n", [(3, 0.87)]),
        (b"1,3,10,20,30,60,1,2.5,-0.3,0\n", [(3, 1.0)]),  # MOT15's ground truth with places in the world
        (b"1,-1,10,20,30,60,0.87,-1,-1,-1\n", [(0, 0.87)]),  # MOT's detections
        (b"1,3,10,20,30,60,-1,-1,-1,-1\n", [(3, 1.0)]),
        (b"1;3;10;20;30;60;0.5\n", [(3, 0.5)]),
        (b"1 3 10 20 30 60 0.5\r\n", [(3, 0.5)]),
        (b"1\t3\t10\t20\t30\t60\n", [(3, 1.0)]),
        (b"1,3.0,10,20,30,60,42.5\n", [(3, 1.0)]),
        (b"1,7,10,20,30,60,1,1,1\n1,8,5,5,9,20,1,1,1\n1,7,0,0,9,20,1,1,1\n", [(7, 1.0), (8, 1.0), (9, 1.0)]),
        (b"1,7,1,1,9,20\n1,7,0,0,9,20\n1,8,0,0,9,20\n1,-1,0,0,9,20\n", [(7, 1), (9, 1), (8, 1), (3, 1)]),
        (b"", []),
        (b"{}", []),
        (b"1,3,10,20,30,60,1,7,1\n", []),
    ],
)
def test_each_of_mots_files_is_read_for_what_it_is(content: bytes, expected: list[tuple[int, float]]) -> None:
    parsed = parse_detections(content, "x")
    assert [(one.index, one.confidence) for one in parsed.people.get(1, [])] == expected


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"1,3,10,20,30,60,-1,-1,-1,-1\n", "not known"),
        (b"1,3,10,20,30,60,42.5\n1,4,1,1,9,20,0.5\n", "1 of 2 confidences lie beyond 0 to 1 (from 42.5 to 42.5)"),
        (b"1,7,1,1,9,20\n1,7,0,0,9,20\n", "1 boxes have an id that another"),
        (b"{}", "no detections"),
        (b"1,3,10,20,30,60,1,7,1\n", "none of 1 rows is a person (class 1, flag 1); classes 7"),
    ],
)
def test_what_is_changed_or_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, note: str
) -> None:
    (tmp_path / "clip.txt").write_bytes(content)
    ReplayDetector(None).begin(tmp_path / "clip.mp4")
    assert note in capsys.readouterr().err


def test_frames_before_the_first_are_refused_and_boxes_beyond_the_frame_counted(tmp_path: Path) -> None:
    (tmp_path / "clip.txt").write_text("0,1,600,10,100,300\n1,1,10,10,50,100\n")
    with pytest.raises(UserError, match="first_frame of this file: 0"):
        ReplayDetector(None).begin(tmp_path / "clip.mp4")
    detector = ReplayDetector(None, first_frame=0)
    detector.begin(tmp_path / "clip.mp4")
    detector.detect([frame(0), frame(1)])
    assert detector.notes() == ["1 of 2 boxes reach beyond the frame and are cut at its border"]
    late = ReplayDetector(None, first_frame=0)
    late.begin(tmp_path / "clip.mp4")
    late.detect([frame(7)])
    assert late.notes() == ["the file has frames 0 to 1; the first frame of the video is 0 there"]


@pytest.mark.parametrize(
    "content",
    ["1,7,0.1,0.2,0.3,0.6,0.9\n2,7,0,0,1,1,0.9\n", '{"1": [["0", {"bbox": [0.1, 0.2, 0.3, 0.6], "conf": 0.9}]]}'],
)
def test_boxes_as_shares_of_the_frame_are_refused(content: str) -> None:
    """Each would be less than a pixel, and its video one without people."""
    with pytest.raises(UserError, match="boxes from 0 to 1, shares of the frame"):
        parse_detections(content.encode(), "a.txt")


@pytest.mark.parametrize("content", ["0,1,600,10,100,300\n", "1,1,10,10,-5,20,1,1,1\n", "1,1,nan,1,1,1\n"])
def test_a_wrong_file_for_all_videos_is_refused_before_the_first_is_opened(tmp_path: Path, content: str) -> None:
    (tmp_path / "all.txt").write_text(content)
    with pytest.raises(UserError):
        load_detector(DetectorSettings(kind="replay", detections=tmp_path / "all.txt"))


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
        b"1,1,inf,0,1,1\n",
        b"inf,1,0,0,1,1\n",
        b"1.5,1,0,0,1,1\n",
        b"1,1,10,0,-5,9,1\n",
        b"1,1,10,0,0,9,1\n",
        b"1,1,0,0,5,9,1\n1,2,0,0,5,9\n",
        b"frame,id,x,y,w,h,score\n1,1,0,0,5,9,1\n",
        b"1,1,0,0,5,9,1,1,1,1,1,1\n",
        b"1,1,0,0,5,9,0.9,0\n1,2,0,0,5,9,0.8,1\n",  # a tracker's confidence and COCO's class
        b"1,1,0,0,5,9,1,1,0,0\n1,2,0,0,5,9,1,4,1,2\n",  # VisDrone: a pedestrian and a car
        b'{"1": [[0, {"bbox": [9, 0, 1, 5], "conf": 0.5}]]}',
        b'{"1": [[0, {"bbox": [0, 0, 1, 5], "conf": ' + b"9" * 400 + b"}]]}",
    ],
)
def test_other_files_are_refused_with_a_reason(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="Fix:") as refusal:
        ReplayDetector(path).begin(Path("clip.mp4"))
    assert ("pickle" in str(refusal.value)) == (content[:1] in (b"\x80", b"(", b"P"))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["1", "bbox", "conf"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["1", "2", "bbox", "conf", "pose"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.dictionaries(st.just("1"), JSON).map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_people_or_a_refusal(content: bytes) -> None:
    try:
        people = parse_detections(content, "any.json").people
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
        detector, found = ReplayDetector(place), []
        for name in "abcde":
            detector.begin(folder / f"{name}.mp4")
            found.append(detector.detect([frame(0)])[0][0].index)
        assert found == [1, 2, 3, 4, 5]
    with pytest.raises(UserError, match=r"other\.detections\.json"):
        ReplayDetector(None).begin(tmp_path / "other.mp4")


def test_ids_that_number_the_detections_of_each_frame_are_no_tracks() -> None:
    counts = [1, 3, 2, 3, 2, 4, 1, 2, 1, 3, 2]
    lines = [f"{frame + 1},{one},{9 * one},20,30,60,0.9" for frame, count in enumerate(counts) for one in range(count)]
    people = parse_detections("\n".join(lines).encode(), "det.txt").people
    assert {person.track for found in people.values() for person in found} == {None}
    assert [person.index for person in people[2]] == [0, 1, 2]
    another = "\n".join(line for line in lines if not line.startswith("6,0,"))  # the first leaves, the others stay
    people = parse_detections(another.encode(), "det.txt").people
    assert [person.track for person in people[6]] == [1, 2, 3]
