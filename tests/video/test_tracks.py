"""Tracks: people who walk, cross, hide and stand are linked; frames too far apart are not, and it is counted."""

import numpy as np
import pytest

from rewho.settings import TrackingSettings
from rewho.video.people import Frame, FramePeople, Person, Verdict, VideoFailure
from rewho.video.replay_detector import parse_detections
from rewho.video.tracks import LinkedPeople, TrackLinker

MOTION = TrackingSettings("motion")
IMAGE = np.zeros((4, 4, 3), np.uint8)


def box(x: float, height: float = 100.0, y: float = 200.0) -> list[float]:
    return [x - 0.2 * height, y - height / 2, x + 0.2 * height, y + height / 2]


def walk(speeds: list[float], starts: list[float], seconds: float, fps: float, heights=None) -> list[np.ndarray]:
    heights = heights or [100.0] * len(speeds)
    count = round(seconds * fps)
    people = list(zip(starts, speeds, heights, strict=True))
    return [np.array([box(x + v * n / fps, h) for x, v, h in people]) for n in range(count)]


def link(frames: list[np.ndarray], fps: float, settings: TrackingSettings = MOTION) -> list[list[int]]:
    linker = TrackLinker(settings)
    return [linker.link(n / fps, boxes, np.full(len(boxes), 0.9)).tolist() for n, boxes in enumerate(frames)]


@pytest.mark.parametrize("fps", [25.0, 5.0, 2.0])
def test_walkers_keep_their_numbers_at_every_sampling_even_where_boxes_no_longer_overlap(fps):
    frames = walk([80.0, -80.0, 0.0], [100.0, 900.0, 500.0], 5.0, fps, [100.0, 140.0, 70.0])
    assert link(frames, fps) == [[1, 2, 3]] * len(frames)


def test_two_of_one_size_who_cross_are_told_apart_by_their_motion():
    frames = walk([90.0, -90.0], [300.0, 700.0], 4.4, 10.0)
    assert link(frames, 10.0) == [[1, 2]] * len(frames)


def test_the_order_of_detections_does_not_matter():
    frames = walk([80.0, -80.0, 30.0], [100.0, 600.0, 350.0], 2.0, 10.0)
    expected = link(frames, 10.0)
    orders = [np.random.default_rng(n).permutation(3) for n in range(len(frames))]
    found = link([boxes[order] for boxes, order in zip(frames, orders, strict=True)], 10.0)
    names = dict(zip(orders[0].tolist(), found[0], strict=True))
    for order, numbers, wanted in zip(orders, found, expected, strict=True):
        assert numbers == [names[wanted[at] - 1] for at in order]


def test_a_person_unseen_for_less_than_the_gap_is_the_same_and_for_longer_another():
    frames = walk([60.0], [100.0], 4.0, 10.0)
    short = [boxes if not 10 <= n < 17 else boxes[:0] for n, boxes in enumerate(frames)]
    assert link(short, 10.0)[-1] == [1]
    long = [boxes if not 10 <= n < 25 else boxes[:0] for n, boxes in enumerate(frames)]
    assert link(long, 10.0)[-1] == [2]


def test_a_person_of_another_size_in_the_same_place_is_another_one():
    assert link([np.array([box(100.0, 100.0)]), np.array([box(100.0, 250.0)])], 10.0) == [[1], [2]]


def test_no_two_of_a_frame_share_a_track_in_a_crowd():
    random = np.random.default_rng(1)
    linker = TrackLinker(MOTION)
    for n in range(40):
        boxes = np.array([box(x, 80.0) for x in random.uniform(0, 300, 25)])
        numbers = linker.link(n / 10, boxes, random.random(25))
        assert len(set(numbers.tolist())) == 25


def test_a_doubtful_detection_does_not_take_the_track_of_a_sure_one():
    linker = TrackLinker(MOTION)
    linker.link(0.0, np.array([box(100.0)]), np.array([0.9]))
    assert linker.link(0.1, np.array([box(100.0), box(104.0)]), np.array([0.3, 0.9])).tolist() == [2, 1]
    assert linker.link(0.2, np.array([box(106.0)]), np.array([0.2])).tolist() == [1]  # but it may go on with one


def people_at(times: list[float], failure: bool = False):
    for number, time in enumerate(times):
        person = Person(tuple(box(100.0 + 20 * time)), 0.9, None, 0, track=77)
        reasons = ("too small",) if number % 2 else ()
        yield FramePeople(Frame(number, time, IMAGE), (Verdict(person, reasons),))
    if failure:
        raise VideoFailure("cut short")


def tracks_at(times: list[float], settings: TrackingSettings = MOTION) -> tuple[list[int | None], int]:
    linked = LinkedPeople(people_at(times), settings)
    found = [one.people[0].person.track for one in linked]
    return found, linked.unlinked


def test_rejected_detections_link_too_and_numbers_of_the_detector_are_replaced():
    assert tracks_at([0.0, 0.5, 1.0, 1.5]) == ([1, 1, 1, 1], 0)


def test_frames_too_far_from_both_neighbours_have_no_tracks_and_are_counted():
    assert tracks_at([0.0, 4.0, 8.0]) == ([None] * 3, 3)
    assert tracks_at([0.0, 0.5, 4.0, 8.0, 8.5]) == ([1, 1, None, 2, 2], 1)
    assert tracks_at([0.0]) == ([None], 1)
    assert tracks_at([0.0, 4.0, 8.0], TrackingSettings("motion", gap=5.0))[1] == 0


def test_without_tracking_there_are_none_and_a_file_keeps_its_own():
    assert tracks_at([0.0, 0.5], TrackingSettings()) == ([None, None], 0)
    assert tracks_at([0.0, 9.0], TrackingSettings("file")) == ([77, 77], 0)


def test_frames_before_a_failure_come_before_it():
    found = []
    with pytest.raises(VideoFailure, match="cut short"):
        for one in LinkedPeople(people_at([0.0, 0.5, 1.0], failure=True), MOTION):
            found.append(one.people[0].person.track)
    assert found == [1, 1, 1]


def test_ids_of_a_file_are_tracks_where_they_are_unique_in_their_frame():
    lines = b"1,7,10,20,30,60,0.9,-1,-1,-1\n1,7,50,20,30,60,0.9,-1,-1,-1\n1,-1,90,20,30,60,0.9,-1,-1,-1\n"
    people = parse_detections(lines, "det.txt").people[1]
    assert [person.track for person in people] == [7, None, None]
