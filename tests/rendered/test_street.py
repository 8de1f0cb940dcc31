"""The rendered street: what the ground truth says is what the pixels show, in depth order and frame by frame."""

import importlib.util
import json
import sys

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rendered import Identity, street_frames, write_street

SIZE = (180, 320)


@pytest.fixture(scope="module")
def scene():
    """Twenty frames with seven people."""
    return list(street_frames(4.0, fps=5, people=7, size=SIZE, seed=3))


def test_frames_are_counted_sized_and_repeatable(scene):
    assert len(scene) == 20
    again = street_frames(4.0, fps=5, people=7, size=SIZE, seed=3)
    for (frame, truth), (other, same) in zip(scene, again, strict=True):
        assert frame.shape == (*SIZE, 3) and frame.dtype == np.uint8
        assert np.array_equal(frame, other)
        assert [one.box for one in truth] == [one.box for one in same]
    other_seed, _ = next(street_frames(4.0, fps=5, people=7, size=SIZE, seed=4))
    assert not np.array_equal(scene[0][0], other_seed)


def test_the_people_of_one_seed_walk_on_several_streets():
    def heights(seed, people_seed):
        frames = street_frames(8.0, fps=2, people=4, size=SIZE, seed=seed, people_seed=people_seed)
        return [{one.person: one.box[3] - one.box[1] for one in truth} for _, truth in frames]

    assert heights(3, 3) == heights(3, None)
    assert heights(3, 9) != heights(3, None), "others walk there"
    assert set().union(*heights(3, 9)) == set().union(*heights(4, 9)) == {1, 2, 3, 4}


def test_people_are_numbered_identities_and_walk(scene):
    places = {}
    for _, truth in scene:
        assert len({one.person for one in truth}) == len(truth)
        for one in truth:
            assert 1 <= one.person <= 7
            places.setdefault(one.person, []).append((one.box[0] + one.box[2]) / 2)
    assert len(places) >= 5
    longest = max(places.values(), key=len)
    assert np.abs(np.diff(longest)).max() < 0.2 * SIZE[1], "nobody jumps"
    assert abs(longest[-1] - longest[0]) > 10


def test_keypoints_lie_in_the_box_and_are_zero_outside_of_the_frame(scene):
    for _, truth in scene:
        for one in truth:
            left, top, right, bottom = one.box
            x, y, seen = one.keypoints.T
            assert (x >= left - 0.01).all() and (x <= right + 0.01).all()
            assert (y >= top - 0.01).all() and (y <= bottom + 0.01).all()
            outside = (x < 0) | (x >= SIZE[1]) | (y < 0) | (y >= SIZE[0])
            assert np.array_equal(seen == 0, outside)
            assert ((one.scores > 0) & (one.scores < 1)).all()
            assert (one.scores[outside] < 0.1).all()


def test_boxes_are_where_the_pixels_change():
    checked = 0
    empty = [frame for frame, _ in street_frames(3.0, fps=4, people=0, size=SIZE, seed=5)]
    for (frame, truth), without in zip(street_frames(3.0, fps=4, people=1, size=SIZE, seed=5), empty, strict=True):
        if len(truth) != 1 or truth[0].visible < 0.999:
            continue
        left, top, right, bottom = truth[0].box
        above_shadow = int(bottom - 0.2 * (bottom - top))  # the shadow is not part of the box
        changed = np.abs(frame.astype(int) - without).max(axis=2) > 12
        rows, columns = np.nonzero(changed[:above_shadow])
        assert rows.min() == pytest.approx(top, abs=2.5)
        assert columns.min() >= left - 2 and columns.max() <= right + 2
        assert changed[int(top) : above_shadow, int(left) : int(right)].mean() > 0.25
        checked += 1
    assert checked >= 3


def test_who_stands_in_front_hides_who_stands_behind(scene):
    crossings = 0
    for _, truth in scene:
        for far, near in ((a, b) for index, a in enumerate(truth) for b in truth[index + 1 :]):
            assert near.box[3] >= far.box[3] - 12, "from far to near"
            shared = min(far.box[2], near.box[2]) - max(far.box[0], near.box[0])
            inside = far.box[0] > 0 and far.box[2] < SIZE[1]
            if shared > 0.6 * (far.box[2] - far.box[0]) and inside:
                assert far.visible < 0.97
                crossings += 1
        for one in truth:
            assert 0 < one.visible <= 1
            if one.box[2] < 0.2 * (one.box[2] - one.box[0]) or one.box[0] > SIZE[1]:
                assert one.visible < 0.6
    assert crossings >= 1


def test_a_panning_camera_moves_the_street():
    frames = [frame.astype(float) for frame, _ in street_frames(1.0, fps=4, people=0, size=SIZE, seed=2, pan=0.25)]
    shift = round(0.25 * SIZE[1] * 3 / 4)
    moved = np.abs(frames[3][:, :-shift] - frames[0][:, shift:]).mean()
    still = np.abs(frames[3] - frames[0]).mean()
    assert moved < 0.6 * still
    stands, _ = zip(*street_frames(1.0, fps=4, people=0, size=SIZE, seed=2), strict=True)
    assert np.abs(stands[3].astype(float) - stands[0]).mean() < 0.6 * still


def test_images_and_both_ground_truths_are_written(tmp_path, scene):
    folder = write_street(tmp_path / "street", 4.0, fps=5, people=7, size=SIZE, seed=3)
    assert [path.name for path in sorted((folder / "img1").iterdir())] == [f"{n:06d}.jpg" for n in range(1, 21)]
    first = cv2.imread(str(folder / "img1" / "000001.jpg"))[..., ::-1].astype(float)
    assert np.abs(first - scene[0][0]).mean() < 6
    found = json.loads((folder / "detections.json").read_text())
    assert list(found) == [str(number) for number in range(1, 21)]
    lines = [line.split(",") for line in (folder / "gt" / "gt.txt").read_text().splitlines()]
    assert len(lines) == sum(len(truth) for _, truth in scene)
    for number, (_, truth) in enumerate(scene, start=1):
        listed = dict(found[str(number)])
        assert set(listed) == {one.person for one in truth if one.visible >= 0.15}
        own = {int(line[1]): [float(value) for value in line[2:]] for line in lines if line[0] == str(number)}
        for one in truth:
            left, top, right, bottom = one.box
            assert own[one.person][:4] == pytest.approx([left, top, right - left, bottom - top], abs=0.01)
            assert own[one.person][4:] == pytest.approx([1, 1, one.visible], abs=1e-3)
            if one.person in listed:
                entry = listed[one.person]
                assert np.shape(entry["pose"]) == (17, 2) and np.shape(entry["prob"]) == (17, 1)
                assert entry["bbox"] == pytest.approx(np.clip(one.box, 0, [320, 180, 320, 180]), abs=0.01)
                assert 0.4 < entry["conf"] < 1


def test_what_is_there_is_not_written_over(tmp_path):
    (tmp_path / "street").mkdir()
    with pytest.raises(UserError, match="one that is there"):
        write_street(tmp_path / "street", 1.0)


def test_a_video_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"uv sync --extra video"):
        write_street(tmp_path / "street.mp4", 0.2, size=(64, 96))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV is not installed (extra: video)")
def test_a_video_has_the_frames_and_the_ground_truth_beside_it(tmp_path, scene):
    import av

    path = write_street(tmp_path / "street.mp4", 4.0, fps=5, people=7, size=SIZE, seed=3)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 20
    assert np.abs(frames[10].astype(float) - scene[10][0]).mean() < 12
    assert list(json.loads((tmp_path / "street.detections.json").read_text())) == [str(n) for n in range(1, 21)]
    assert (tmp_path / "street.gt.txt").is_file()
    with pytest.raises(UserError, match="even"):
        write_street(tmp_path / "odd.mp4", 0.2, size=(65, 96))
    with pytest.raises(UserError, match="container"):
        write_street(tmp_path / "other.webm", 0.2, size=(64, 96))


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"fps": 0}, {"people": -1}, {"size": (20, 320)}, {"pan": -1}])
def test_settings_out_of_range_are_told_at_the_call(wrong):
    with pytest.raises(UserError):
        street_frames(**{"seconds": 1.0, **wrong})


def test_a_street_may_be_crowded():
    _, truth = next(street_frames(60.0, fps=1, people=60, size=SIZE, seed=3))
    assert truth and all(1 <= known.person <= 60 for known in truth)
    last = list(street_frames(4.0, fps=1, people=60, size=(48, 64), seed=3))[-1][1]
    assert max(known.person for known in last) > 33  # 33,000 parts no longer fit into 16 bits


def test_identities_are_those_of_the_people_images(scene):
    assert Identity.draw(3, 1).number == 1
    assert any(one.person == 1 for _, truth in scene for one in truth)
