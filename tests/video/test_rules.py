"""The rules on boxes: golden records, boundaries, and properties that hold for any box."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewho.settings import RuleSettings
from rewho.video.people import Person
from rewho.video.rules import apply_rules, find_failures, rule_names

# What our documented choices say where the paper leaves it open.
OURS = {
    14: (),  # 48.3 px wide: the width is tested as it is, not rounded
    22: (),  # one ear is a head seen from behind
    23: (),
    25: (),  # both shoulders are an upper body
    26: ("upper_body_not_visible",),  # a single point is not
    27: ("upper_body_not_visible",),  # nor are arms without a shoulder
    28: (),  # scores of .30 reach the threshold
    29: (),
    30: ("lower_body_not_visible",),  # hips .20, knees .10
    32: (),  # the left half of a body shows head, shoulder, arm and hip
    34: ("ratio_not_above_1.5",),  # clipped at the bottom first
    35: ("width_not_above_48",),  # clipped at the right first
    36: ("head_not_visible",),  # keypoints far above the box are not in the crop
}


def person_of(record: dict, index: int = 0) -> Person:
    points = np.concatenate([np.array(record["pose"]), np.array(record["prob"])], axis=1).astype(np.float32)
    return Person(tuple(record["bbox"]), record["conf"], points, index)


@pytest.fixture(scope="module")
def golden(shared: Path) -> list[dict]:
    return json.loads((shared / "golden" / "builder" / "detections_40.json").read_text())["records"]


def verdict(record: dict, settings: RuleSettings | None = None) -> tuple[str, ...]:
    width, height = record["image_width_height"]
    return apply_rules([person_of(record)], (height, width), settings)[0].reasons


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.3, 0.65])
def test_golden_verdicts_hold_for_any_keypoint_threshold(golden: list[dict], threshold: float) -> None:
    settings, swept = RuleSettings(keypoint_score=threshold), 0
    for record in golden:
        if record["expect"] != "unspecified":
            assert set(verdict(record, settings)) == set(record["reasons"]), record["note"]
            assert (record["expect"] == "keep") == (not record["reasons"])
            swept += 1
    assert swept == 27


def test_golden_open_cases_get_the_documented_verdict(golden: list[dict]) -> None:
    assert {record["id"]: verdict(record) for record in golden if record["expect"] == "unspecified"} == OURS


def test_the_order_of_clipping_is_a_setting(golden: list[dict]) -> None:
    unclipped = RuleSettings(clip_first=False)
    assert verdict(golden[33], unclipped) == verdict(golden[34], unclipped) == ()


def test_single_precision_confidence_does_not_slip_through(golden: list[dict]) -> None:
    exact = replace(person_of(golden[0]), confidence=float(np.float32(0.72)))
    assert exact.confidence > 0.72, "the trap: single precision rounds 0.72 up"
    assert apply_rules([exact], (720, 1280))[0].reasons == ("confidence_not_above_0.72",)


def test_a_frame_is_judged_as_its_people_are_alone(golden: list[dict]) -> None:
    records = [record for record in golden if record["image_width_height"] == [1280, 720]]
    together = apply_rules([person_of(record, at) for at, record in enumerate(records)], (720, 1280))
    assert [one.reasons for one in together] == [verdict(record) for record in records]
    assert [one.person.index for one in together] == list(range(len(records)))
    assert len(records) == 40


def test_names_follow_the_thresholds() -> None:
    names = rule_names(RuleSettings(min_ratio=1.25, min_width=32))
    assert "ratio_not_above_1.25" in names
    assert "width_not_above_32" in names
    assert len(set(names)) == len(names)


def test_without_keypoints(golden: list[dict]) -> None:
    good = replace(person_of(golden[0]), keypoints=None)
    small = replace(good, box=(0.0, 0.0, 40.0, 100.0))
    assert [one.reasons for one in apply_rules([good, small], (720, 1280))] == [
        ("no_keypoints",),
        ("width_not_above_48",),
    ]
    assert apply_rules([good], (720, 1280), body=False)[0].reasons == ()


def test_relaxing_a_threshold_never_adds_a_failure() -> None:
    rng = np.random.default_rng(3)
    corner, side = rng.uniform(-50, 700, (500, 2)), rng.uniform(0, 300, (500, 2))
    points = np.concatenate([rng.uniform(0, 800, (500, 17, 2)), rng.uniform(0, 1, (500, 17, 1))], 2).astype(np.float32)
    points[:250, :, :2] = (corner + side / 2)[:250, None]  # in their boxes
    people = [
        Person((*corner[i], *(corner[i] + side[i])), float(rng.uniform()), points[i], i) for i in range(len(corner))
    ]
    strict = RuleSettings()
    for easier in (
        replace(strict, min_ratio=1.0),
        replace(strict, max_ratio=9.0),
        replace(strict, min_confidence=0.4),
        replace(strict, min_width=20.0),
        replace(strict, keypoint_score=0.1),
        replace(strict, head_points=0),
        replace(strict, upper_points=0),
        replace(strict, lower_points=0),
        replace(strict, margin=5.0),
    ):
        before, after = find_failures(people, (720, 1280), strict), find_failures(people, (720, 1280), easier)
        assert not (after & ~before).any()
        assert (before & ~after).any(), "the threshold has an effect"


def test_people_whom_the_side_of_the_frame_cuts_are_refused_where_that_is_asked_for(golden: list[dict]) -> None:
    whole = person_of(golden[0])
    left, top, right, bottom = whole.box
    points = np.array(whole.keypoints)

    def at(offset: float) -> Person:
        moved = points + np.array([offset, 0, 0], np.float32)
        return replace(whole, box=(left + offset, top, right + offset, bottom), keypoints=moved)

    half = (right - left) / 4
    people = [at(-left - half), at(-left), at(2 - left), at(1280 - right - 1), at(1280 - right + half), whole]
    assert [one.reasons for one in apply_rules(people, (720, 1280))] == [()] * 6, "the paper has no such rule"
    refused = apply_rules(people, (720, 1280), RuleSettings(side_gap=2))
    assert [one.reasons for one in refused] == [*[("side_gap_below_2",)] * 2, (), *[("side_gap_below_2",)] * 2, ()]
    unclipped = apply_rules(people[:1], (720, 1280), RuleSettings(clip_first=False))
    assert unclipped[0].reasons == (), "0 is off, also for boxes that reach beyond"


def test_nobody_in_a_frame() -> None:
    assert apply_rules([], (360, 640)) == ()
