"""Pre-training on images without labels: what it leaves and says, what begins from it."""

import math
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import torch.multiprocessing as processes
from cut_runs import cut, last, state_after
from safetensors.torch import load_file, save_file

from checkpoints import same
from quick_settings import quick
from rewho.core.check import UserError
from rewho.crops.writer import example_set
from rewho.data.datasets import read
from rewho.embedding.embedder import load
from rewho.models.weights import ModelCard, load_model, read_card
from rewho.settings import (
    CheckpointSettings,
    ContrastSettings,
    EngineSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    PretrainDataSettings,
    PretrainSettings,
    ProbeSettings,
    SamplerSettings,
)
from rewho.stages import pretrain, train
from rewho.tasks.contrast import find_failure
from rewho.training.checkpoint import load_checkpoint
from rewho.training.log import read_log

ENCODER = ModelSettings(backbone="test_resnet", pooling="gap", head="none", pretrained="none", input_size=(64, 32))


def settings(crops: Path, out: Path, **changes) -> PretrainSettings:
    start = PretrainSettings(
        out=out,
        model=ENCODER,
        data=PretrainDataSettings((crops,), workers=0),
        contrast=ContrastSettings(queue=30, norm_group=4, reference_batch=0, projection=16),
        sampler=SamplerSettings(batch=8),
        optimizer=OptimizerSettings(learning_rate=0.01, weight_decay=1e-4, schedule="cosine"),
        checkpoint=CheckpointSettings(every_steps=1, keep=100),
        engine=EngineSettings(device="cpu", precision="32"),
        epochs=2,
        steps_per_epoch=3,
        evaluate_every=-1,
    )
    return replace(start, **changes)


@pytest.fixture(scope="module")
def encoder(people, tmp_path_factory) -> Path:
    """A pre-trained encoder, with a checkpoint of every step."""
    out = tmp_path_factory.mktemp("pretrained") / "encoder"
    return pretrain.run(settings(people, out, probe=ProbeSettings(people), evaluate_every=2))


def test_the_log_says_what_the_probe_is_and_its_scores_in_percent(people, tmp_path, capsys):
    out = pretrain.run(
        settings(people, tmp_path / "out", probe=ProbeSettings(people), epochs=1, steps_per_epoch=1, evaluate_every=1)
    )
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("probe ") and "Rank-1" in line]
    figures = read_log(out)[-1]
    table = read(people)
    queries, gallery = (len(table.select(split)) for split in ("query", "gallery"))
    assert said.startswith(
        f"probe {table.name}: Rank-1 {100 * figures['rank_1']:.2f}, mAP {100 * figures['mAP']:.2f} rectangular (95 % "
    )
    assert said.endswith(f"; {queries} queries, 0 without a match, {gallery} in the gallery")


def test_a_rising_momentum_is_where_it_was_after_a_cut(people, tmp_path):
    def rising(out):
        contrast = replace(settings(people, out).contrast, momentum=0.5, momentum_schedule="cosine")
        return settings(people, out, contrast=contrast)

    whole = pretrain.run(rising(tmp_path / "whole"))
    pretrain.run(rising(cut(whole, tmp_path / "cut", 3)))
    assert same(last(tmp_path / "cut"), last(whole))
    before, after = (checkpoint["parameters"] for checkpoint in (state_after(whole, 5), last(whole)))
    # The last of 6 steps: 5/6 of the cosine. What the key encoder took over is part of what it lacked.
    name = "contrast.{}projection.layers.0.weight"
    own, leader = before[name.format("key_")], before[name.format("")]
    share = 0.5 * 0.5 * (1 + math.cos(math.pi * 5 / 6))
    torch.testing.assert_close(after[name.format("key_")], own + share * (leader - own))


def test_what_a_resume_needs_is_in_the_checkpoint(encoder):
    state = last(encoder)
    names = state["parameters"].keys() | state["buffers"].keys()
    for part in (
        "encoder.backbone",
        "key_encoder.backbone",
        "projection",
        "key_projection",
        "queue.keys",
        "queue.pointer",
    ):
        assert any(name.startswith(f"contrast.{part}") for name in names), part
    assert int(state["buffers"]["contrast.queue.pointer"]) == 6 * 8 % 30


def test_the_encoder_is_a_model_folder_with_the_images_own_statistics(people, encoder):
    model, card = load_model(encoder)
    assert model(torch.zeros(2, 3, 64, 32, dtype=torch.uint8)).shape == (2, card["embedding_size"])
    images = [cv2.imread(str(file))[:, :, ::-1] / 255 for file in sorted((people / "bounding_box_train").glob("*.jpg"))]
    mean = np.mean([image.mean(axis=(0, 1)) for image in images], axis=0)
    square = np.mean([(image**2).mean(axis=(0, 1)) for image in images], axis=0)
    assert card["mean"] == pytest.approx(mean, abs=2e-4)
    assert card["std"] == pytest.approx(np.sqrt(square - mean**2), abs=2e-4)
    assert card["provenance"]["labels"] is False
    assert card["trained_on"]["images"] == len(images)
    assert 0 < card["metrics"]["probe"]["mAP"] <= 1
    lines = [line for line in read_log(encoder) if "found" in line]
    assert len(lines) == 6
    assert all(-1 <= line["queue_similarity"] <= 1 and 0.2 < line["spread"] < 1.1 for line in lines)
    assert all(0.1 < line["query_spread"] < 1.1 for line in lines)


@pytest.mark.parametrize("kind", ["single_view", "bdb"])
def test_training_begins_from_the_encoder(people, encoder, tmp_path, capsys, kind):
    model = ModelSettings(kind=kind, backbone="test_resnet", embedding=48, input_size=(64, 32), pretrained=str(encoder))
    sampler = SamplerSettings("identities", batch=8, images_per_identity=2)
    loss = LossSettings(identity=0.5, triplet=1.0, label_smoothing=0.1)
    out = train.run(
        quick(people, tmp_path / "out", model=model, sampler=sampler, loss=loss, epochs=1, evaluate_every=-1)
    )
    assert f"backbone of {encoder}; one more batch normalisation before the head" in capsys.readouterr().err
    card = read_card(out)
    assert card["mean"] == read_card(encoder)["mean"]
    assert card["architecture"]["extra_bn"] == "yes"
    assert card["provenance"]["before"]["provenance"]["method"].startswith("momentum contrast")
    assert {"total", "identity", "triplet"} <= read_log(out)[0].keys()
    first = read_log(out)[0]
    assert first["total"] == pytest.approx(0.5 * first["identity"] + first["triplet"], rel=1e-5)
    assert (out / "classifier.safetensors").exists() == (kind == "single_view")


@pytest.mark.parametrize("begun", [False, True])
def test_an_mgn_is_trained_evaluated_and_embeds(people, tmp_path, begun):
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("resnet18").state_dict(), weights)
    first = str(weights) if begun else "none"
    model = ModelSettings(kind="mgn", backbone="resnet18", embedding=64, input_size=(64, 32), pretrained=first)
    loss = LossSettings(identity=0.125, triplet=0.2, classifier="circle")
    sampler = SamplerSettings("identities", batch=8, images_per_identity=4)
    frozen = OptimizerSettings(learning_rate=0.01, freeze_epochs=1)
    changes = {"model": model, "sampler": sampler, "loss": loss, "optimizer": frozen, "epochs": 1, "steps_per_epoch": 1}
    out = train.run(quick(people, tmp_path / "mgn", **changes))
    for name, batches in load_file(out / "model.safetensors").items():
        if name.endswith("num_batches_tracked"):
            moves = name.startswith("heads") or not begun
            assert int(batches) == moves, "what was pre-trained is frozen, and random weights are not"
    card = read_card(out)
    assert 0 < next(iter(card["metrics"].values()))["mAP"] <= 1
    embeddings = load(out, "cpu").embed(sorted((people / "query").glob("*.jpg")))
    assert embeddings.shape[1] == card["embedding_size"] == 64


def test_training_on_triplets_alone_and_with_circle_softmax(people, tmp_path):
    sampler = SamplerSettings("identities", batch=8, images_per_identity=2)
    alone = LossSettings(identity=0, triplet=1.0, margin=0.0)
    model = ModelSettings(backbone="test_resnet", embedding=8, input_size=(64, 32), pretrained="none")
    common = {"model": model, "epochs": 1, "evaluate_every": -1}
    out = train.run(quick(people, tmp_path / "trip", sampler=sampler, loss=alone, **common))
    assert not (out / "classifier.safetensors").exists()
    circle = LossSettings(classifier="circle")
    out = train.run(quick(people, tmp_path / "circle", sampler=sampler, loss=circle, **common))
    assert read_log(out)[0]["total"] > 10  # cosines near 0: about s * (m * (1 + m) + ...)
    with pytest.raises(UserError, match="a weight above 0"):
        train.run(quick(people, tmp_path / "none", loss=LossSettings(identity=0)))


def test_a_collapsed_encoder_is_said(tmp_path, capsys):
    folder = tmp_path / "same"
    folder.mkdir()
    for number in range(8):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((32, 16, 3), 90, np.uint8))
    model = replace(ENCODER, backbone="squeezenet1_1")  # no batch normalisation, which would blow nothing up to noise
    pretrain.run(settings(folder, tmp_path / "out", model=model, epochs=1, steps_per_epoch=1))
    assert "warning: collapsed" in capsys.readouterr().err


def test_an_easy_contrast_is_said_once_the_queue_is_real():
    easy = {"spread": 0.5, "query_spread": 0.9, "found": 1.0, "queue_similarity": 0.0}
    assert "norm_group" in find_failure(easy, filled=True)
    assert find_failure(easy, filled=False) is None
    assert find_failure({**easy, "found": 0.9}) is None
    assert "collapsed" in find_failure({**easy, "spread": 0.01}, filled=False)
    assert "collapsed" in find_failure({**easy, "query_spread": 0.05}, filled=False)


def test_a_queue_of_another_network_is_said():
    stale = {"spread": 0.5, "query_spread": 0.9, "found": 0.4, "queue_similarity": -0.2}
    assert "--contrast.momentum" in find_failure(stale)
    assert find_failure(stale, filled=False) is None
    assert find_failure({**stale, "queue_similarity": -0.02}) is None


@pytest.mark.parametrize(("queue", "said"), [(32, False), (41, True)])  # of 48 images, with batches of 8
def test_a_queue_longer_than_the_images_is_said(people, tmp_path, capsys, queue, said):
    contrast = ContrastSettings(queue=queue, norm_group=4, reference_batch=0, projection=16)
    pretrain.run(settings(people, tmp_path / "out", contrast=contrast, epochs=1, steps_per_epoch=1))
    assert ("their own earlier keys" in capsys.readouterr().err) == said


def test_a_probe_that_is_trained_on_is_said_and_recorded(people, encoder, tmp_path, capsys):
    changes = {"probe": ProbeSettings(people), "evaluate_every": 1, "epochs": 1, "steps_per_epoch": 1}
    out = pretrain.run(settings(people / "query", tmp_path / "out", **changes))
    count = len(list((people / "query").glob("*.jpg")))
    assert f"warning: {count} test images of --probe are trained on" in capsys.readouterr().err
    assert read_card(out)["metrics"]["probe"]["images_trained_on"] == count
    assert "images_trained_on" not in read_card(encoder)["metrics"]["probe"]


def test_passes_of_a_step_move_the_key_encoder_as_one_does(people, tmp_path):
    contrast = ContrastSettings(queue=30, norm_group=4, momentum=0.5, projection=16)
    sampler = SamplerSettings(batch=8, accumulate=2)
    out = pretrain.run(
        settings(people, tmp_path / "two", contrast=contrast, sampler=sampler, epochs=1, steps_per_epoch=1)
    )
    state = last(out)
    assert int(state["buffers"]["contrast.queue.pointer"]) == 8
    assert load_checkpoint(out / "checkpoints")[0] == 1


def test_the_learning_rate_follows_the_batch(people, tmp_path):
    contrast = ContrastSettings(queue=30, norm_group=4, reference_batch=80)
    out = pretrain.run(settings(people, tmp_path / "out", contrast=contrast, epochs=1, steps_per_epoch=1))
    assert read_log(out)[0]["learning_rate"] == pytest.approx(0.01 * 8 / 80)


def test_mistakes(people, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="--data: expected one or more folders"):
        pretrain.run(replace(settings(people, out), data=PretrainDataSettings()))
    with pytest.raises(UserError, match=r"--model\.head: expected none for an encoder"):
        pretrain.run(settings(people, out, model=replace(ENCODER, head="fc_bn")))
    with pytest.raises(UserError, match="no labels"):
        pretrain.run(settings(people, out, sampler=SamplerSettings("identities", batch=8)))
    few, halves = replace(settings(people, out).data, share=0.1), SamplerSettings(batch=16, accumulate=4)
    with pytest.raises(UserError, match=r"images that --data\.share 0\.1 leaves, got 16"):
        pretrain.run(settings(people, out, data=few, sampler=halves))
    with pytest.raises(UserError, match=r"--sampler\.accumulate: expected a whole number from 1"):
        pretrain.run(settings(people, out, sampler=SamplerSettings(batch=8, accumulate=0)))
    with pytest.raises(UserError, match=r"--model\.view: expected holistic"):
        pretrain.run(settings(people, out, model=replace(ENCODER, view="dn1")))
    with pytest.raises(UserError, match=r"--model\.extra_bn: expected auto or no"):
        pretrain.run(settings(people, out, model=replace(ENCODER, extra_bn="yes")))
    (tmp_path / "pool" / "somebody").mkdir(parents=True)
    shutil.copy(next((people / "query").glob("*.jpg")), tmp_path / "pool" / "somebody")
    with pytest.raises(UserError, match=r"--probe\.hold_out"):
        pretrain.run(settings(people, out, probe=ProbeSettings(tmp_path / "pool")))
    for name, value in (("share", 0.5), ("share_list", tmp_path / "list.txt")):
        probe = ProbeSettings(people, **{name: value})
        with pytest.raises(UserError, match=rf"--probe\.{name}: expected no share"):
            pretrain.run(settings(people, out, probe=probe))
    assert not out.exists()
    contrast = ContrastSettings(freeze_patches=True, norm_group=4, queue=30)
    with pytest.raises(UserError, match="a transformer"):
        pretrain.run(settings(people, out, contrast=contrast))


@pytest.mark.parametrize(
    ("group", "accumulate", "devices", "one_pass"), [(3, 1, 1, 8), (16, 1, 1, 8), (4, 4, 1, 2), (4, 1, 4, 2)]
)
def test_groups_that_do_not_fit_a_pass_are_refused_before_anything_is_read(
    people, tmp_path, monkeypatch, group, accumulate, devices, one_pass
):
    monkeypatch.setattr(pretrain, "launch", None)  # that is when processes start; images are read after it
    contrast, sampler = ContrastSettings(norm_group=group, queue=30), SamplerSettings(batch=8, accumulate=accumulate)
    engine = EngineSettings(device="cpu", precision="32", devices=devices)
    with pytest.raises(UserError, match=f"a divisor of the {one_pass} images of one forward pass on one device"):
        pretrain.run(settings(people, tmp_path / "out", contrast=contrast, sampler=sampler, engine=engine))


def test_the_card_says_what_was_learned_from_and_how(people, tmp_path):
    sampler = SamplerSettings(batch=8, accumulate=2)
    contrast = ContrastSettings(queue=30, norm_group=4, reference_batch=80)
    crops = example_set(tmp_path / "crops", licence="CC-BY-4.0")
    images = PretrainDataSettings((crops, people), workers=0, share=0.9, share_seed=3)
    changes = {"data": images, "sampler": sampler, "contrast": contrast}
    out = pretrain.run(replace(settings(people, tmp_path / "out"), **changes))
    card = read_card(out)
    learned, how = card["trained_on"], card["provenance"]
    assert [(source["name"], source["kind"]) for source in learned["sources"]] == [
        ("crops", "crop set"),
        ("rendered-people", "data set"),
    ]
    assert (learned["share"], learned["share_seed"]) == (0.9, 3)
    assert (how["steps"], how["accumulate"], how["batch"]) == (6, 2, 8)
    assert (how["optimizer"]["kind"], how["optimizer"]["learning_rate"]) == ("sgd", pytest.approx(0.01 * 8 / 80))
    assert card["licence"] == f"CC-BY-4.0, {ModelCard.licence}"
    pair = {"sampler": SamplerSettings(batch=2), "contrast": ContrastSettings(queue=30, norm_group=2)}
    only = read_card(pretrain.run(settings(crops, tmp_path / "only", **pair)))
    assert only["licence"] == "CC-BY-4.0"


def test_a_mean_that_is_given_alone_is_kept_and_the_deviation_measured(people, encoder, tmp_path):
    model = replace(ENCODER, pixel_mean=(0.5, 0.4, 0.3))
    card = read_card(pretrain.run(settings(people, tmp_path / "out", model=model, epochs=1, steps_per_epoch=1)))
    assert card["mean"] == [0.5, 0.4, 0.3]
    assert card["std"] == read_card(encoder)["std"]


def _as_torchrun(rank: int, port: int, people: str, out: str, changes: dict) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    torch.set_num_threads(1)
    engine = EngineSettings(device="cpu", precision="32", devices=2)
    pretrain.run(settings(Path(people), Path(out), engine=engine, **changes))


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 2])
def test_two_devices_do_what_one_does(people, tmp_path, passes):
    # Few steps at a small rate: groups of four images blow the smallest differences up from step to step.
    sampler, optimizer = SamplerSettings(batch=8 * passes, accumulate=passes), settings(people, tmp_path).optimizer
    changes = {"sampler": sampler, "optimizer": replace(optimizer, learning_rate=0.001), "steps_per_epoch": 1}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes.spawn(_as_torchrun, args=(port, str(people), str(tmp_path / "two"), changes), nprocs=2)
    one, two = last(pretrain.run(settings(people, tmp_path / "one", **changes))), last(tmp_path / "two")
    # Sums come in another order, and a layer normalises what is left of that difference to a larger one.
    for group in ("parameters", "buffers"):
        assert one[group].keys() == two[group].keys()
        for name, tensor in one[group].items():
            torch.testing.assert_close(two[group][name], tensor, atol=2e-5, rtol=2e-5, msg=name)
    images = torch.randint(0, 256, (8, 3, 64, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, two = (load_model(tmp_path / name)[0](images) for name in ("one", "two"))
    torch.testing.assert_close(two, one, atol=5e-5 * float(one.abs().max()), rtol=0)
    losses = [[line["total"] for line in read_log(tmp_path / name) if "total" in line] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    contrast = replace(settings(people, tmp_path).contrast, norm_group=0)
    unsplit = settings(people, tmp_path / "unsplit", contrast=contrast, **changes)
    other = [line["total"] for line in read_log(pretrain.run(unsplit)) if "total" in line]
    assert other != pytest.approx(losses[0], rel=1e-3), "the groups must make the difference"
