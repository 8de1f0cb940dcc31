"""Thresholds beside a model: they belong to its weights, and what is not stored is not guessed."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.embedding.decision import FILE, describe_points, read_threshold, store_thresholds
from rewho.rank.thresholds import NO_INTERVAL, Interval, OperatingPoint, PairScores

PAIRS = PairScores(np.ones(3), np.arange(3), np.zeros(6), np.array([[0, 1], [0, 2], [1, 2]] * 2), 600)
REFUSAL = "too few people: 0.1 % false matches takes about 246 people, here are 90"


def model(folder, content=b"weights", name="model.safetensors"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return SimpleNamespace(weights=(folder / name,))


def described(data="street", threshold=0.625, *, flip=True, warnings=()):
    given = OperatingPoint(0.01, 90, "", threshold, 0.0099, 0.8, NO_INTERVAL, NO_INTERVAL, Interval(0.75, 0.85))
    points = [given, OperatingPoint(0.001, 90, REFUSAL)]
    return describe_points(points, PAIRS, data=data, digest="ab", flip=flip, warnings=warnings)


def test_a_stored_threshold_is_read_with_what_it_was_measured_on(tmp_path):
    one = model(tmp_path / "m")
    assert (
        store_thresholds(one, described(warnings=["learned from x"]))
        == f"thresholds are stored in {tmp_path / 'm' / FILE}"
    )
    found = read_threshold(one, 0.01)
    assert (found.threshold, found.found, found.data, found.people) == (0.625, (0.8, 0.75, 0.85), "street", 3)
    assert found.warnings == ("learned from x",) and found.others == ()
    content = json.loads((tmp_path / "m" / FILE).read_text())
    assert content["measured"][0]["pairs_of_two_people"] == 600
    assert content["measured"][0]["thresholds"][1] == {"rate": 0.001, "people": 90, "refusal": REFUSAL}


def test_data_sets_stand_side_by_side_and_the_last_measured_is_meant(tmp_path):
    one = model(tmp_path / "m")
    for data, threshold in (("street", 0.5), ("mall", 0.7), ("street", 0.6)):
        store_thresholds(one, described(data, threshold))
    assert read_threshold(one, 0.01).threshold == 0.6
    assert read_threshold(one, 0.01).others == ("mall",)
    assert read_threshold(one, 0.01, "mall").threshold == 0.7
    with pytest.raises(UserError, match="measured on yard, got none; stored are those of mall, street"):
        read_threshold(one, 0.01, "yard")


def test_what_is_not_stored_is_refused_with_advice(tmp_path):
    one = model(tmp_path / "m")
    with pytest.raises(UserError, match=r"got none\.\n  Fix: Run `rewho evaluate "):
        read_threshold(one, 0.01)
    store_thresholds(one, described())
    with pytest.raises(UserError, match=r"none on street: too few people: 0\.1 % false matches takes about 246"):
        read_threshold(one, 0.001)
    with pytest.raises(UserError, match="none on street: stored are 1%"):
        read_threshold(one, 0.05)
    with pytest.raises(UserError, match="Fix: Pass --flip true"):
        read_threshold(one, 0.01, flip=False)


def test_thresholds_of_other_weights_or_with_a_changed_byte_are_refused_and_replaced(tmp_path):
    one = model(tmp_path / "m")
    store_thresholds(one, described())
    other = model(tmp_path / "m", b"trained again")
    with pytest.raises(UserError, match="got those of other weights"):
        read_threshold(other, 0.01)
    store_thresholds(other, described("mall"))
    assert read_threshold(other, 0.01).others == (), "the old weights' are gone"
    path = tmp_path / "m" / FILE
    path.write_text(path.read_text().replace("0.625", "0.125"))
    with pytest.raises(UserError, match="does not match its own seal"):
        read_threshold(other, 0.01)
    store_thresholds(other, described())
    assert read_threshold(other, 0.01).threshold == 0.625


def test_nothing_is_stored_without_a_threshold_or_beside_a_checkpoint(tmp_path):
    refused = describe_points([OperatingPoint(0.01, 9, "few")], PAIRS, data="a", digest="", flip=True, warnings=())
    assert store_thresholds(model(tmp_path / "m"), refused) == "no threshold to store: few"
    assert "is a checkpoint" in store_thresholds(model(tmp_path / "m", name="state.pt"), described())
    assert not (tmp_path / "m" / FILE).exists()
