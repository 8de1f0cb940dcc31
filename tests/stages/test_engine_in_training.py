"""ONNX Runtime in the embedding within a training: the training does not notice it, and resumes as exactly."""

from dataclasses import replace

import pytest
from cut_runs import check_equal, cut, last

from checkpoints import same
from quick_settings import CPU, quick
from rewho.core.progress import note_once
from rewho.embedding import runtime
from rewho.rendered import write_people
from rewho.settings import AdaptSettings, ClusterSettings, DataSettings, ModelSettings, SamplerSettings
from rewho.stages import adapt, train
from rewho.training.log import read_log

pytest.importorskip("onnxscript", reason="the extra `export`")
FASTER = "embedding with ONNX Runtime"
TRAINED = ("parameters", "buffers", "optimizer")


@pytest.fixture(autouse=True)
def faster(monkeypatch):
    monkeypatch.setattr(runtime, "LEAST", 1)
    note_once.cache_clear()


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine") / "people"
    return write_people(folder, identities=8, test_identities=3, cameras=2, images_per_camera=3, seed=7, workers=0)


def test_an_evaluation_leaves_no_trace_in_what_is_trained(people, tmp_path, monkeypatch, capsys):
    given = quick(people, tmp_path / "faster", epochs=2, steps_per_epoch=2, evaluate_every=1)
    found = train.run(given)
    assert capsys.readouterr().err.count(FASTER) == 1, "said once, not after every epoch"
    monkeypatch.setattr(runtime, "LEAST", 10**9)
    expected = train.run(replace(given, out=tmp_path / "torch"))
    assert FASTER not in capsys.readouterr().err
    states = [last(folder) for folder in (found, expected)]
    trained = [{name: state[name] for name in TRAINED} for state in states]
    assert same(*trained)
    scores = [[row["mAP"] for row in read_log(folder) if "mAP" in row] for folder in (found, expected)]
    assert len(scores[0]) == 2
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.slow
def test_a_cut_adaptation_ends_with_the_same_bits(people, tmp_path, capsys):
    given = AdaptSettings(
        out=tmp_path / "whole",
        data=DataSettings(root=people, workers=0),
        model=ModelSettings(pooling="gap", head="bn", input_size=(64, 32), pretrained="none"),
        cluster=ClusterSettings(k1=6, k2=2, min_samples=2),
        sampler=SamplerSettings("identities", 8, 2),
        checkpoint=replace(AdaptSettings().checkpoint, every_steps=1, keep=100),
        group_identities=2,
        engine=CPU,
        epochs=2,
        steps_per_epoch=2,
        evaluate_every=1,
    )
    whole = adapt.run(given)
    assert FASTER in capsys.readouterr().err
    folder = cut(whole, tmp_path / "cut", 2)  # before the second epoch, which embeds and clusters
    adapt.run(replace(given, out=folder))
    check_equal(folder, whole)
