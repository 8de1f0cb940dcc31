"""Finding teachers: what is finished is found, what is not is named and refused."""

import pytest

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.record import STARTED
from rewho.core.shipped import CARD
from rewho.tasks.teachers import find_teachers


def run(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def test_a_folder_stands_for_the_finished_models_in_it_and_for_models_without_a_run(tmp_path):
    finished = run(tmp_path / "up1", STARTED, MANIFEST, CARD, f"best/{CARD}")
    copied = run(tmp_path / "dn1", CARD)
    assert find_teachers([tmp_path]) == [copied, finished]
    assert find_teachers([finished, finished / "best"]) == [finished, finished / "best"]


@pytest.mark.parametrize("left", [(), ("checkpoints/step-00000001/state.pt",), (CARD, f"best/{CARD}")])
def test_an_unfinished_teacher_is_named_and_not_left_out(tmp_path, left):
    run(tmp_path / "holistic", STARTED, MANIFEST, CARD)
    unfinished = run(tmp_path / "up1", STARTED, *left)
    for path in (tmp_path, unfinished) if CARD in left or not left else (tmp_path,):
        with pytest.raises(UserError, match=rf"unfinished runs: {unfinished}\.\n.*resumes where it was"):
            find_teachers([path])


def test_an_unfinished_teacher_that_is_named_and_one_checkpoint_are_taken(tmp_path):
    checkpoint = "checkpoints/step-00000001"
    unfinished = run(tmp_path / "up1", STARTED, f"{checkpoint}/state.pt")
    assert find_teachers([unfinished, unfinished / checkpoint]) == [unfinished, unfinished / checkpoint]


def test_the_best_model_so_far_does_not_stand_for_a_run(tmp_path):
    unfinished = run(tmp_path / "up1", STARTED, f"best/{CARD}")
    with pytest.raises(UserError, match="unfinished runs"):
        find_teachers([unfinished])
    other = run(tmp_path / "other", STARTED, MANIFEST, f"best/{CARD}")
    with pytest.raises(UserError, match="got another folder"):
        find_teachers([other])


def test_what_is_no_teacher_is_named(tmp_path):
    with pytest.raises(UserError, match="at least one model folder"):
        find_teachers([])
    with pytest.raises(UserError, match="nothing there"):
        find_teachers([tmp_path / "none"])
