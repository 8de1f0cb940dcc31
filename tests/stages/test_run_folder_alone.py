"""The folder of an unfinished run is a model: its newest checkpoint describes itself, with nothing else of the run."""

import shutil

import numpy as np
import pytest
import torch
from cut_runs import cut

import rewho
from quick_settings import CPU, distilling, quick
from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError
from rewho.core.record import STARTED
from rewho.core.shipped import CARD
from rewho.embedding.embedder import load
from rewho.models.factorization import load_branches
from rewho.settings import CompareSettings, DataSettings, EmbedSettings, EvaluateSettings, RepresentSettings
from rewho.stages import compare, distill, embed, evaluate, represent, train
from rewho.training.checkpoint import save_checkpoint
from rewho.training.log import LOG


@pytest.fixture(scope="module", params=["student", "teacher"])
def finished(request, people, model, representations, tmp_path_factory):
    """A distillation that is saved in its own space, or in its teacher's; the student that it began from is gone."""
    folder = tmp_path_factory.mktemp("alone")
    student = shutil.copytree(model, folder / "student")
    changes = {"evaluate_every": -1, "epochs": 1, "embedding_space": request.param}
    out = distill.run(distilling(people, student, representations, folder / "run", **changes))
    shutil.rmtree(student)
    return out


@pytest.fixture
def unfinished(finished, tmp_path):
    run = cut(finished, tmp_path / "run", 3)
    (run / LOG).unlink()
    (run / STARTED).write_text("{}")
    return run


def test_embeddings_and_branches_are_those_of_the_finished_model(finished, unfinished, people, capsys):
    images = sorted((people / "query").iterdir())[:4]
    whole, newest = rewho.load(finished, "cpu"), load(unfinished, "cpu", branches=True)
    assert "using its newest checkpoint, step-00000003" in capsys.readouterr().err
    assert np.allclose(whole.embed(images), newest.embed(images), atol=1e-5)
    left, right = load_branches(finished).state_dict(), newest.branches.state_dict()
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    assert newest.description["trained_on"] == whole.description["trained_on"]
    assert newest.description["provenance"] == whole.description["provenance"]


def test_every_command_takes_the_folder_of_an_unfinished_run(unfinished, people, tmp_path):
    images = tuple(sorted((people / "query").iterdir())[:2])
    assert -1 <= float(compare.run(CompareSettings(images, unfinished, engine=CPU))) <= 1
    folder = embed.run(EmbedSettings(people / "query", unfinished, tmp_path / "embedded", engine=CPU))
    width = np.load(folder / "embeddings.npy").shape[1]
    page = evaluate.run(EvaluateSettings((unfinished,), (people,), tmp_path / "r", sheets=0, attention=1, engine=CPU))
    assert "Where the model looks" in page.read_text()
    said = represent.run(RepresentSettings((unfinished,), tmp_path / "said", DataSettings(root=people), engine=CPU))
    assert np.load(said / "holistic.npy").shape[1] == width


def test_a_checkpoint_of_another_version_is_refused_when_it_is_loaded_and_when_it_is_resumed(people, tmp_path):
    settings = quick(people, tmp_path / "run", epochs=1, evaluate_every=-1)
    train.run(settings)
    (settings.out / MANIFEST).unlink()
    (settings.out / CARD).unlink()
    checkpoint = save_checkpoint(settings.out / "checkpoints", 3, {}, description={"version": 0})
    attempts = (lambda: rewho.load(settings.out), lambda: rewho.load(checkpoint), lambda: train.run(settings))
    for attempt in attempts:
        with pytest.raises(UserError, match=r"expected version 1 of the format, got version 0"):
            attempt()
