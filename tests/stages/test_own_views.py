"""A view of one's own, whose file is changed: no training, teacher or model goes on as if it had not been."""

import json
import shutil
from dataclasses import replace

import pytest
from cut_runs import cut

import rewho
from quick_settings import CPU, distilling, quick
from rewho.core.check import UserError
from rewho.embedding.foreign_networks import open_teacher
from rewho.settings import CheckpointSettings, DataSettings, ModelSettings, RepresentSettings
from rewho.stages import distill, represent, train

UPPER, LOWER, WHOLE = (f"box: {{top: {top}, bottom: {bottom}}}" for top, bottom in (("0", "1/2"), ("1/2", "1"), (0, 1)))


def write(file, box, size="[32, 32]"):
    file.write_text(f"name: own\n{box}\nsize: {size}\n")
    return str(file)


@pytest.fixture(scope="module")
def trained(people, tmp_path_factory):
    """The settings of a training of the upper half that is finished and kept every step."""
    folder = tmp_path_factory.mktemp("own")
    network = ModelSettings(
        backbone="test_resnet", embedding=8, view=write(folder / "own.yaml", UPPER), pretrained="none"
    )
    settings = quick(people, folder / "model", model=network, epochs=1, steps_per_epoch=2, evaluate_every=-1)
    train.run(replace(settings, checkpoint=CheckpointSettings(every_steps=1, keep=2)))
    return settings


@pytest.fixture
def rewrite(trained):
    """Writes the view's file anew, until the test's end."""
    file = trained.out.parent / "own.yaml"
    yield lambda *content: write(file, *content)
    write(file, UPPER)


@pytest.mark.parametrize("content", [(LOWER,), (UPPER, "[48, 32]")], ids=["box", "size"])
def test_a_finished_training_and_an_interrupted_one_are_held_to_their_view(trained, rewrite, tmp_path, content):
    interrupted = cut(trained.out, tmp_path / "cut", 1)
    rewrite(*content)
    for folder in (trained.out, interrupted):
        with pytest.raises(UserError, match=r"inputs\.box of view own: 'top 0, bottom 1/2, .* -> 'top"):
            train.run(replace(trained, out=folder))


def test_representations_are_held_to_the_box_of_their_teacher(trained, rewrite, people, tmp_path):
    said = RepresentSettings((trained.out,), tmp_path / "said", DataSettings(root=people), engine=CPU)
    represent.run(said)
    older = tmp_path / "of an older version"
    shutil.copytree(trained.out, older)
    card = json.loads((older / "model.json").read_text())
    del card["box"]
    (older / "model.json").write_text(json.dumps(card))
    before = open_teacher(older, None, CPU).digest
    rewrite(LOWER)
    with pytest.raises(UserError, match=r"inputs\.box of view own"):
        represent.run(replace(said, teachers=(older,)))
    assert open_teacher(older, None, CPU).digest != before


def test_a_model_knows_its_box_and_is_refused_where_its_file_has_another(trained, rewrite):
    assert json.loads((trained.out / "model.json").read_text())["box"] == ["0", "1/2", "0", "1"]
    assert rewho.load(trained.out).model.box == ("0", "1/2", "0", "1")
    rewrite(LOWER)
    with pytest.raises(UserError, match=r"trained with: 0, 1/2, 0, 1 .*got 1/2, 1, 0, 1"):
        rewho.load(trained.out)


def test_a_checkpoint_is_refused_where_its_file_has_another_box(trained, rewrite, tmp_path):
    run = cut(trained.out, tmp_path / "cut", 1)
    rewho.load(run)
    rewrite(LOWER)
    with pytest.raises(UserError, match=r"trained with: 0, 1/2, 0, 1 .*got 1/2, 1, 0, 1"):
        rewho.load(run)


def test_a_student_whose_file_says_the_whole_image_by_now_is_refused(
    trained, rewrite, people, representations, tmp_path
):
    rewrite(WHOLE)
    with pytest.raises(UserError, match="the box that the model was trained with"):
        distill.run(distilling(people, trained.out, representations, tmp_path / "out"))
