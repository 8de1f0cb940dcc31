"""From a video to judged people, on a rendered street whose every person is known."""

import doctest
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import barcode, write_clip

from rewho.rendered import write_street
from rewho.settings import RuleSettings, SamplingSettings
from rewho.video.boxes import compute_iou
from rewho.video.detect import detect_frames, detect_video
from rewho.video.explain import draw_verdicts, write_explanation
from rewho.video.people import Frame, FramePeople, Person, Verdict, VideoFailure
from rewho.video.pose import DetectorKeypoints, KeypointFile
from rewho.video.replay_detector import ReplayDetector
from rewho.video.rules import find_box_failures, rule_names

SIZE = (240, 426)
EVERY = 5
RULES = RuleSettings(min_width=24.0)  # the street is small, so that the test is quick


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("av", reason="PyAV is an extra")
    return write_street(tmp_path_factory.mktemp("street") / "street.mkv", 6.0, people=7, size=SIZE, seed=2)


@pytest.fixture(scope="module")
def truth(street: Path) -> dict[int, np.ndarray]:
    """By frame from 0: person, box, visible share; [N, 6]."""
    rows = np.loadtxt(street.with_suffix(".gt.txt"), delimiter=",")
    people = np.concatenate([rows[:, 1:2], rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6], rows[:, 8:9]], axis=1)
    return {int(number) - 1: people[rows[:, 0] == number] for number in np.unique(rows[:, 0])}


def looked_at(street: Path, **changes: object) -> list[FramePeople]:
    settings = {"sampling": SamplingSettings(every=EVERY), "rules": RULES, "batch": 5, **changes}
    return list(detect_video(street, ReplayDetector(None), DetectorKeypoints(), **settings))


def test_every_kept_box_is_a_person_and_every_fully_visible_one_is_kept(
    street: Path, truth: dict[int, np.ndarray]
) -> None:
    wanted = kept = 0
    found = looked_at(street)
    assert [one.frame.number for one in found] == list(range(0, 60, EVERY))
    for one in found:
        people = truth.get(one.frame.number, np.zeros((0, 6)))
        boxes = {int(row[0]): row[1:5] for row in people}
        for judged in one.people:
            if not judged.reasons:
                kept += 1
                clipped = np.clip(boxes[judged.person.index], 0, [SIZE[1], SIZE[0]] * 2)
                assert compute_iou(np.array([judged.person.box]), clipped[None])[0, 0] >= 0.7
        verdicts = {judged.person.index: judged.reasons for judged in one.people}
        for person, *box, visible in people:
            large = not find_box_failures(np.array([box]), np.ones(1), RULES).any()
            if visible > 0.99 and large:
                wanted += 1
                assert verdicts[int(person)] == (), (one.frame.number, person)
    assert wanted > 15
    assert kept >= wanted


def test_people_who_are_cut_or_hidden_are_refused(street: Path, truth: dict[int, np.ndarray]) -> None:
    hidden = 0
    for one in looked_at(street):
        visible = {int(row[0]): row[5] for row in truth.get(one.frame.number, [])}
        for judged in one.people:
            if visible[judged.person.index] < 0.3:
                hidden += 1
                assert judged.reasons, (one.frame.number, judged.person.index)
    assert hidden >= 2


@pytest.mark.parametrize("batch", [1, 50])
def test_the_batch_changes_nothing(street: Path, batch: int) -> None:
    for one, other in zip(looked_at(street), looked_at(street, batch=batch), strict=True):
        assert one.frame.number == other.frame.number
        assert np.array_equal(one.frame.image, other.frame.image)
        assert [judged.reasons for judged in one.people] == [judged.reasons for judged in other.people]


def test_keypoints_are_looked_for_only_where_they_can_matter(street: Path) -> None:
    class Counting(DetectorKeypoints):
        asked = 0

        def add_keypoints(self, frames: Sequence[Frame], people: Sequence[Sequence[Person]]) -> list[list[Person]]:
            self.asked += sum(map(len, people))
            return [[replace(one, keypoints=None) for one in found] for found in people]

    counts, names = {}, rule_names(RULES)
    for only_possible in (True, False):
        pose = Counting()
        found = list(
            detect_video(
                street, ReplayDetector(None), pose, SamplingSettings(every=EVERY), None, RULES, 5, only_possible
            )
        )
        everybody = [judged for one in found for judged in one.people]
        counts[only_possible] = pose.asked
        possible = [judged for judged in everybody if not set(judged.reasons) & set(names[:4])]
        assert all(judged.reasons == ("no_keypoints",) for judged in possible)
        assert pose.asked == len(possible if only_possible else everybody)
    assert 0 < counts[True] < counts[False]


def test_without_a_pose_estimator_the_body_is_not_asked_for(street: Path) -> None:
    found = list(detect_video(street, ReplayDetector(None), None, SamplingSettings(every=EVERY), rules=RULES))
    reasons = {reason for one in found for judged in one.people for reason in judged.reasons}
    assert reasons <= set(rule_names(RULES)[:4])
    assert any(not judged.reasons for one in found for judged in one.people)


def test_keypoints_from_a_file_go_to_the_box_that_they_belong_to(street: Path) -> None:
    """Boxes that are a little off still get the right person's keypoints."""

    class Shaken(ReplayDetector):
        def detect(self, frames: Sequence[Frame]) -> list[list[Person]]:
            return [
                [replace(one, box=tuple(side + 2 for side in one.box), keypoints=None) for one in found]
                for found in super().detect(frames)
            ]

    plain = looked_at(street)
    shaken = detect_video(
        street, Shaken(None), KeypointFile(None), SamplingSettings(every=EVERY), None, RULES, 5, False
    )
    same = total = 0
    for one, other in zip(plain, shaken, strict=True):
        for judged, moved in zip(one.people, other.people, strict=True):
            total += 1
            same += moved.person.keypoints is not None and np.array_equal(
                judged.person.keypoints, moved.person.keypoints
            )
    assert same >= 0.9 * total > 10


def test_frames_before_a_failure_are_judged_first(street: Path, tmp_path: Path) -> None:
    cut = tmp_path / "street.mkv"
    content = street.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    came = []
    with pytest.raises(VideoFailure, match="cut short"):
        for found in detect_video(
            cut,
            ReplayDetector(street.with_suffix(".detections.json")),
            DetectorKeypoints(),
            SamplingSettings(every=3),
            batch=50,
        ):
            came.append(found.frame.number)
    assert came[:3] == [0, 3, 6]
    assert 3 < len(came) < 20, "the batch was not full, and its frames came all the same"


def test_a_video_that_fails_needs_no_detections(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoFailure, match="empty"):
        next(detect_video(tmp_path / "empty.mp4", ReplayDetector(None), None))


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """Ten times the frames, the same memory: nothing holds more than a batch."""
    import gc
    import tracemalloc

    pytest.importorskip("av", reason="PyAV is an extra")

    class Nobody(ReplayDetector):
        def begin(self, video: Path) -> None:
            """Need no file."""

    peaks = []
    for count in (5, 20, 200):  # the first imports what is imported late
        path = write_clip(tmp_path / f"{count}.mp4", [barcode(number, (180, 320)) for number in range(count)])
        gc.collect()
        tracemalloc.start()
        frames = sum(1 for _ in detect_video(path, Nobody(None), None, SamplingSettings(every=1), batch=4))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert frames == count
    assert peaks[2] < 1.2 * peaks[1]
    assert peaks[1] < 15 * 180 * 320 * 3


def test_explanations_show_every_verdict(tmp_path: Path) -> None:
    image = np.full((200, 400, 3), 128, np.uint8)
    points = np.tile(np.array([120, 60, 0.9], np.float32), (17, 1))
    points[3:5] = np.nan
    people = (
        Verdict(Person((100, 20, 140, 120), 0.9, points, 0), ()),
        Verdict(Person((220, -5, 260, 120), 0.4, None, 1), ("confidence_not_above_0.72",)),
    )
    drawn = draw_verdicts(FramePeople(Frame(3, 0.12, image), people))
    green, red = (drawn == colour for colour in ((40, 200, 40), (235, 60, 40)))
    assert green.all(2)[20:121, 98:143].sum() > 200
    assert red.all(2)[:121, 218:400].sum() > 200
    assert not green.all(2)[:, 218:].any()
    assert np.array_equal(image, np.full((200, 400, 3), 128, np.uint8)), "the frame itself is left alone"
    write_explanation(tmp_path / "frame.jpg", FramePeople(Frame(3, 0.12, image), people))
    assert (tmp_path / "frame.jpg").read_bytes()[:2] == b"\xff\xd8"
    wide = draw_verdicts(FramePeople(Frame(0, 0.0, np.zeros((1000, 4000, 3), np.uint8)), people))
    assert wide.shape == (400, 1600, 3)


def test_images_can_be_judged_without_a_video(street: Path) -> None:
    detector = ReplayDetector(None)
    detector.begin(street)
    frame = Frame(10, 1.0, np.zeros((*SIZE, 3), np.uint8))
    (found,) = detect_frames([frame], detector, DetectorKeypoints(), RULES)
    assert [one.person.index for one in found.people] == [
        one.person.index for one in looked_at(street)[10 // EVERY].people
    ]


def test_a_video_in_which_nobody_is_found_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Frame(number, number / 25, np.zeros((90, 160, 3), np.uint8)) for number in range(3)]
    (tmp_path / "a.txt").write_text("100,1,0,0,50,90\n")
    assert len(list(detect_video(tmp_path / "a.mp4", ReplayDetector(None), None, frames=iter(frames)))) == 3
    said = capsys.readouterr().err
    assert "replay found nobody in any of 3 frames" in said
    assert "--detector.first_frame" in said and "frames 100 to 100" in said
    (tmp_path / "a.txt").write_text("2,1,0,0,50,90\n")
    assert len(list(detect_video(tmp_path / "a.mp4", ReplayDetector(None), None, frames=iter(frames)))) == 3
    assert not capsys.readouterr().err


def test_the_sessions_of_the_guide_run() -> None:
    pytest.importorskip("av", reason="PyAV is an extra")
    guide = Path(__file__).parents[2] / "docs" / "guide" / "video.md"
    assert doctest.testfile(str(guide), module_relative=False).failed == 0
