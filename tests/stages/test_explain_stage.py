"""Attention images of a model, of the branches that a distillation left beside it, and of both in a checkpoint."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from cut_runs import cut

from quick_settings import CPU, distilling, quick
from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.record import STARTED, find_damage
from rewho.data.augment import resize
from rewho.data.images import decode
from rewho.embedding.attention import shown_views
from rewho.embedding.embedder import load, view_of
from rewho.models.factorization import BRANCH_CARD, Factorization, attention, save_branches
from rewho.models.weights import load_model
from rewho.settings import (
    BranchSettings,
    ContrastSettings,
    EvaluateSettings,
    ExplainSettings,
    ModelSettings,
    PretrainDataSettings,
    PretrainSettings,
    SamplerSettings,
)
from rewho.stages import distill, evaluate, explain, pretrain, train
from rewho.training.checkpoint import STATE


@pytest.fixture(scope="module")
def distilled(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilled") / "model"
    shutil.copytree(model, folder)
    torch.manual_seed(1)
    network, _ = load_model(folder)
    widths = {"dn1": 8, "holistic": 16, "up1": 8}
    branches = Factorization(network.backbone.channels, 16, widths, features=12, kernel=2)
    save_branches(folder, branches)
    return folder


@pytest.fixture(scope="module")
def finished(people, model, representations, tmp_path_factory):
    """The folder of a whole distillation, with the checkpoints of its two epochs."""
    out = tmp_path_factory.mktemp("distillation") / "run"
    return distill.run(distilling(people, model, representations, out, evaluate_every=-1))


def shown(images, model, out):
    """Explain images; return the bytes of every attention image by its name."""
    explain.run(ExplainSettings(images, model, out, engine=CPU))
    return {file.name: file.read_bytes() for file in (out / "single").iterdir()}


def views_of(folder, *wanted):
    return shown_views(load(folder, "cpu", branches=True), wanted)


@pytest.fixture
def images(people):
    return tuple(sorted((people / "query").iterdir())[:3])


def test_a_plain_model_shows_its_own_map(model, images, tmp_path):
    sheet = explain.run(ExplainSettings(images, model, tmp_path / "out", engine=CPU))
    assert cv2.imread(str(sheet)).shape[0] > 3 * 128
    singles = sorted((tmp_path / "out" / "single").iterdir())
    assert [file.name for file in singles] == [f"{n:04d}-{image.stem}-f.jpg" for n, image in enumerate(images, 1)]
    assert find_damage(tmp_path / "out") is None
    pixels = decode(images[0])
    network, _ = load_model(model)
    with torch.inference_mode():
        small = torch.from_numpy(resize([pixels], view_of(network))).permute(0, 3, 1, 2)
        expected = attention(network.feature_map(small))[0].numpy()
    grown = cv2.resize(expected, (pixels.shape[1], pixels.shape[0]))
    shown = decode(singles[0]).astype(float)
    assert np.abs(shown - pixels * grown[:, :, None]).mean() < 4, "beyond what JPEG changes"


def test_branches_beside_a_model_are_shown_too(distilled, images, tmp_path):
    explain.run(ExplainSettings(images, distilled, tmp_path / "all", engine=CPU))
    assert len(list((tmp_path / "all" / "single").iterdir())) == 3 * 4
    explain.run(ExplainSettings(images, distilled, tmp_path / "one", views=("up1",), engine=CPU))
    names = {file.stem.split("-")[-1] for file in (tmp_path / "one" / "single").iterdir()}
    assert names == {"f", "up1"}
    assert views_of(distilled) == ("holistic", "up1", "dn1"), "the paper's order"


def test_a_folder_of_images_is_explained_and_a_second_call_does_nothing(model, people, tmp_path, capsys):
    settings = ExplainSettings((people / "query",), model, tmp_path / "out", engine=CPU)
    explain.run(settings)
    count = len(list((people / "query").iterdir()))
    assert len(list((tmp_path / "out" / "single").iterdir())) == count
    assert len(list((tmp_path / "out").glob("sheet-*.jpg"))) == -(-count // explain.ROWS_PER_SHEET)
    capsys.readouterr()
    explain.run(settings)
    assert "is finished" in capsys.readouterr().err


def test_mistakes_are_answered(model, distilled, images, tmp_path):
    with pytest.raises(UserError, match="expected image files"):
        explain.run(ExplainSettings((), model, tmp_path / "a", engine=CPU))
    with pytest.raises(UserError, match=r"nothing at .*none\.jpg"):
        explain.run(ExplainSettings((tmp_path / "none.jpg",), model, tmp_path / "a", engine=CPU))
    with pytest.raises(UserError, match="up3"):
        explain.run(ExplainSettings(images, distilled, tmp_path / "a", views=("up3",), engine=CPU))
    with pytest.raises(UserError, match="views"):
        explain.run(ExplainSettings(images, model, tmp_path / "a", views=("up1",), engine=CPU))
    broken = tmp_path / "broken"
    shutil.copytree(distilled, broken)
    (broken / BRANCH_CARD).write_text(json.dumps({"view": {"up1": 8}}))
    with pytest.raises(UserError, match=r"branches\.json"):
        views_of(broken)
    assert not (tmp_path / "a").exists()


def test_a_checkpoint_of_a_distillation_shows_every_branch(finished, images, tmp_path):
    whole = shown(images, finished, tmp_path / "whole")
    assert {name.rpartition("-")[2] for name in whole} == {"f.jpg", "holistic.jpg", "up1.jpg"}
    assert shown(images, finished / "checkpoints" / "step-00000006", tmp_path / "last") == whole
    early = shown(images, finished / "checkpoints" / "step-00000003", tmp_path / "early")
    assert early.keys() == whole.keys() and early != whole
    assert json.loads((tmp_path / "last" / MANIFEST).read_text())["inputs"].keys() == {STATE, "images"}


def test_an_unfinished_run_shows_its_newest_checkpoint_that_verifies(finished, images, tmp_path, capsys):
    run = cut(finished, tmp_path / "run", 3, 6)
    whole = shown(images, finished, tmp_path / "whole")
    assert shown(images, run, tmp_path / "newest") == whole
    assert "using its newest checkpoint, step-00000006" in capsys.readouterr().err
    with (run / "checkpoints" / "step-00000006" / STATE).open("r+b") as file:
        file.write(b"damage")
    assert shown(images, run, tmp_path / "before") != whole
    said = capsys.readouterr().err
    assert "step-00000006 is damaged" in said and "using its newest checkpoint, step-00000003" in said
    with pytest.raises(UserError, match=r"state\.pt does not match"):
        load(run / "checkpoints" / "step-00000006", "cpu")


def test_a_checkpoint_is_found_from_within_its_folder(finished, monkeypatch):
    monkeypatch.chdir(finished / "checkpoints")
    assert views_of(finished.relative_to(finished) / "step-00000003") == ("holistic", "up1")


@pytest.mark.parametrize("kind", ["single_view", "mgn"])
def test_a_checkpoint_of_a_training_shows_its_own_map(people, images, tmp_path, kind):
    settings = quick(people, tmp_path / kind, evaluate_every=-1, epochs=1)
    size = (64, 32) if kind == "single_view" else (96, 32)
    folder = train.run(replace(settings, model=replace(settings.model, kind=kind, input_size=size)))
    checkpoint = folder / "checkpoints" / "step-00000003"
    assert shown(images, checkpoint, tmp_path / "a") == shown(images, folder, tmp_path / "b")
    with pytest.raises(UserError, match="feature-map branches"):
        views_of(checkpoint, "up1")


def test_a_checkpoint_of_a_pre_training_shows_its_encoder(people, images, tmp_path):
    encoder = ModelSettings(backbone="test_resnet", pooling="gap", head="none", pretrained="none", input_size=(64, 32))
    settings = PretrainSettings(
        out=tmp_path / "encoder",
        model=encoder,
        data=PretrainDataSettings((people,), workers=0),
        contrast=ContrastSettings(queue=30, norm_group=4, reference_batch=0, projection=16),
        sampler=SamplerSettings(batch=8),
        engine=CPU,
        epochs=1,
        steps_per_epoch=2,
        evaluate_every=-1,
    )
    folder = pretrain.run(settings)
    checkpoint = folder / "checkpoints" / "step-00000002"
    assert shown(images, checkpoint, tmp_path / "a") == shown(images, folder, tmp_path / "b")


def test_a_distillation_without_feature_map_branches_shows_its_own_map(people, model, representations, tmp_path):
    branches = BranchSettings(features=16, from_map=False)
    changes = {"epochs": 1, "evaluate_every": -1, "branches": branches}
    folder = distill.run(distilling(people, model, representations, tmp_path / "run", **changes))
    assert views_of(folder / "checkpoints" / "step-00000003") == ()


def test_folders_without_anything_to_show_are_refused(finished, model, images, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no model\.json"):
        load(tmp_path / "empty")
    with pytest.raises(UserError, match="nothing there"):
        load(tmp_path / "none")
    explain.run(ExplainSettings(images, model, tmp_path / "images", engine=CPU))
    with pytest.raises(UserError, match=r"no model\.json"):
        load(tmp_path / "images")
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(finished / STARTED, begun / STARTED)
    with pytest.raises(UserError, match="an unfinished run without one"):
        load(begun)


def test_the_report_shows_where_the_model_looks(distilled, people, tmp_path):
    page = evaluate.run(EvaluateSettings((distilled,), (people,), tmp_path / "r", sheets=0, attention=2, engine=CPU))
    assert "Where the model looks" in page.read_text()
    assert len(list((page.parent / "attention").iterdir())) == 1
    page = evaluate.run(EvaluateSettings((distilled,), (people,), tmp_path / "n", sheets=0, attention=0, engine=CPU))
    assert "Where the model looks" not in page.read_text() and not (page.parent / "attention").exists()
