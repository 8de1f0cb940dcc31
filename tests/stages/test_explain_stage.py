"""Attention pictures of a model, and of the branches that a distillation left beside it."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from rewho.core.artifact import damage
from rewho.core.check import UserError
from rewho.core.settings import BranchSettings, EngineSettings, EvaluateSettings, ExplainSettings
from rewho.data.augment import resize
from rewho.data.pictures import decode
from rewho.models.factorization import BRANCH_CARD, Factorization, attention, save_branches
from rewho.models.weights import load_model
from rewho.pipeline.attention import open_onlooker
from rewho.pipeline.embedding import view_of
from rewho.stages import evaluate, explain

CPU = EngineSettings(device="cpu")


@pytest.fixture(scope="module")
def distilled(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilled") / "model"
    shutil.copytree(model, folder)
    torch.manual_seed(1)
    network, _ = load_model(folder)
    widths = {"dn1": 8, "holistic": 16, "up1": 8}
    branches = Factorization(network.backbone.channels, 16, widths, features=12, kernel=2)
    save_branches(folder, branches, BranchSettings(features=12, kernel=2))
    return folder


@pytest.fixture
def images(people):
    return tuple(sorted((people / "query").iterdir())[:3])


def test_a_plain_model_shows_its_own_map(model, images, tmp_path):
    sheet = explain.run(ExplainSettings(images, model, tmp_path / "out", engine=CPU))
    assert cv2.imread(str(sheet)).shape[0] > 3 * 128
    singles = sorted((tmp_path / "out" / "single").iterdir())
    assert [file.name for file in singles] == [f"{n:04d}-{image.stem}-f.jpg" for n, image in enumerate(images, 1)]
    assert damage(tmp_path / "out") is None
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
    assert open_onlooker(distilled, CPU).views == ("holistic", "up1", "dn1"), "the paper's order"


def test_a_folder_of_pictures_is_explained_and_a_second_call_does_nothing(model, people, tmp_path, capsys):
    settings = ExplainSettings((people / "query",), model, tmp_path / "out", engine=CPU)
    explain.run(settings)
    count = len(list((people / "query").iterdir()))
    assert len(list((tmp_path / "out" / "single").iterdir())) == count
    assert len(list((tmp_path / "out").glob("sheet-*.jpg"))) == -(-count // explain.ROWS_PER_SHEET)
    capsys.readouterr()
    explain.run(settings)
    assert "is finished" in capsys.readouterr().err


def test_mistakes_are_answered(model, distilled, images, tmp_path):
    with pytest.raises(UserError, match="expected picture files"):
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
        open_onlooker(broken, CPU)
    assert not (tmp_path / "a").exists()


def test_the_report_shows_where_the_model_looks(distilled, people, tmp_path):
    page = evaluate.run(EvaluateSettings((distilled,), (people,), tmp_path / "r", sheets=0, attention=2, engine=CPU))
    assert "Where the model looks" in page.read_text()
    assert len(list((page.parent / "attention").iterdir())) == 1
    page = evaluate.run(EvaluateSettings((distilled,), (people,), tmp_path / "n", sheets=0, attention=0, engine=CPU))
    assert "Where the model looks" not in page.read_text() and not (page.parent / "attention").exists()
