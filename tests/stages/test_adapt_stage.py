"""Adaptation to rendered people without labels: what a run leaves, exact resumes, several processes, mistakes."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cut_runs import check_equal, checkpoint_of, cut, last, lose

from checkpoints import same
from quick_settings import CPU, quick
from rewho.core.check import UserError
from rewho.core.files import read_json
from rewho.core.runtime import Interrupted
from rewho.embedding.saved import open_saved
from rewho.rendered import write_people
from rewho.settings import (
    AdaptSettings,
    ClusterSettings,
    DataSettings,
    MemorySettings,
    ModelSettings,
    SamplerSettings,
    SourceSettings,
)
from rewho.stages import adapt, train
from rewho.tasks import adaptation
from rewho.tasks.adaptation import AdaptTask, Epochs
from rewho.tasks.target import read_target
from rewho.training.log import read_log

STEPS, WITHIN = 4, 3


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Path:
    """Ten people to adapt to, and a few to test on."""
    folder = tmp_path_factory.mktemp("crowd") / "people"
    return write_people(folder, identities=10, test_identities=3, cameras=2, images_per_camera=3, seed=7, workers=0)


def settings(crowd: Path, out: Path, **changes) -> AdaptSettings:
    given = {
        "out": out,
        "data": DataSettings(root=crowd, workers=0),
        "model": ModelSettings(pooling="gap", head="bn", input_size=(64, 32), pretrained="none"),
        "cluster": ClusterSettings(k1=6, k2=2, min_samples=2),
        "sampler": SamplerSettings("identities", 8, 2),
        "group_identities": 2,
        "engine": CPU,
        "epochs": 2,
        "steps_per_epoch": 2,
        "evaluate_every": -1,
    }
    return AdaptSettings(**{**given, **changes})


@pytest.fixture(scope="module")
def start(crowd, tmp_path_factory):
    checkpoint = replace(AdaptSettings().checkpoint, every_steps=1, keep=100)
    return settings(crowd, tmp_path_factory.mktemp("adapted") / "whole", checkpoint=checkpoint, evaluate_every=1)


@pytest.fixture(scope="module")
def whole(start):
    return adapt.run(start)


def test_a_run_leaves_a_model_a_log_of_its_clusters_and_a_page(start, whole):
    epochs = [row for row in read_log(whole) if "epoch" in row]
    assert [row["epoch"] for row in epochs] == [1, 2]
    for name in ("clusters", "outliers", "trained_on", "silhouette", "camera_nmi", "nmi", "purity", "eps"):
        assert f"epoch_{name}" in epochs[0]
    assert epochs[0]["epoch_clusters"] >= 2
    card = read_json(whole / "model.json")
    assert card["provenance"]["chosen"] == "the last epoch"
    assert card["metrics"]["rendered-people"]["mAP"] == epochs[-1]["mAP"]
    page = (whole / "index.html").read_text()
    assert "camera NMI" in page
    assert page.count("data:image/jpeg") > 1
    assert "memory.kind" in page and "{&#x27;" not in page and "gradient_norm" not in page
    for file in ("start.json", "last.json"):  # before and after, with the interval
        assert "95 % over 3 people" in (line := read_json(whole / file)["scores"]) and line in page
    assert 0 < read_json(whole / "start.json")["mAP"] <= 1
    assert not (whole / "best").exists()
    assert adapt.run(start) == whole


@pytest.mark.parametrize("step", [pytest.param(2, marks=pytest.mark.slow), WITHIN])
def test_a_run_cut_after_a_step_ends_with_the_same_bits(start, whole, tmp_path, step, capsys):
    folder = cut(whole, tmp_path / "cut", step)
    open_saved(folder)
    newest = checkpoint_of(whole, step).name
    assert f"an unfinished run; using its newest checkpoint, {newest} of 4" in capsys.readouterr().err
    adapt.run(replace(start, out=folder))
    check_equal(folder, whole)


@pytest.mark.parametrize(
    ("lost", "step"), [("memory.vectors", WITHIN), pytest.param("threshold", 2, marks=pytest.mark.slow)]
)
def test_a_resume_that_lost_the_memory_is_noticed(start, whole, tmp_path, lost, step):
    folder = cut(whole, tmp_path / "cut", step)
    assert lose(folder, step, lost, "buffers") == 1
    adapt.run(replace(start, out=folder, evaluate_every=-1, allow_config_change=True))
    assert not same(last(folder)["buffers"], last(whole)["buffers"])


def test_a_stop_request_saves_at_the_end_of_the_step(start, whole, tmp_path, monkeypatch):
    forward, calls = AdaptTask.forward, []

    def told(self, batch):
        calls.append(batch)
        if len(calls) == WITHIN:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, batch)

    monkeypatch.setattr(AdaptTask, "forward", told)
    with pytest.raises(Interrupted, match=f"step {WITHIN} of {STEPS}"):
        adapt.run(replace(start, out=tmp_path / "told"))
    monkeypatch.undo()
    assert checkpoint_of(tmp_path / "told", WITHIN).is_dir()
    adapt.run(replace(start, out=tmp_path / "told"))
    check_equal(tmp_path / "told", whole)


def test_a_stop_request_ends_the_embedding_before_an_epoch(crowd, tmp_path, monkeypatch):
    rarely = replace(AdaptSettings().checkpoint, every_epochs=100)
    cluster = ClusterSettings(k1=6, k2=2, min_samples=2, of="network")
    given = settings(crowd, tmp_path / "told", checkpoint=rarely, cluster=cluster)
    whole = adapt.run(replace(given, out=tmp_path / "whole"))
    embed, calls = adaptation.embed_batches, []

    def told(*values, **options):
        calls.append(values)
        os.kill(os.getpid(), signal.SIGTERM)
        return embed(*values, **options)

    def first_then_told(*values, **options):
        return (told if calls else calls.append(values) or embed)(*values, **options)

    for step, embedding in ((0, told), (2, first_then_told)):  # at the beginning, and before the second epoch
        calls.clear()
        monkeypatch.setattr(adaptation, "embed_batches", embedding)
        with pytest.raises(Interrupted, match=f"step {step} of {STEPS}"):
            adapt.run(given)
        monkeypatch.undo()
    assert checkpoint_of(given.out, 2).is_dir()
    adapt.run(given)
    check_equal(given.out, whole)


def test_a_labelled_source_has_its_own_classes_and_normalisation(crowd, people, tmp_path):
    changes = {
        "source": SourceSettings(root=people, workers=0),
        "model": ModelSettings("single_view", "resnet18", head="bn", input_size=(64, 32)),
    }
    changes["model"] = replace(changes["model"], pooling="gap", pretrained="none")
    folder = adapt.run(settings(crowd, tmp_path / "both", epochs=1, **changes))
    state = last(folder)
    norms = [name for name in state["parameters"] if name.startswith("source_norms.")]
    assert len(norms) == 2 * 21 - 0
    assert len(state["buffers"]["memory.labels"]) == 8 + len(list((crowd / "bounding_box_train").glob("*.jpg")))
    assert {"epoch_source", "epoch_target"} <= read_log(folder)[-1].keys()
    assert "source" in read_json(folder / "model.json")["trained_on"]


@pytest.mark.parametrize("kind", ["centroid", pytest.param("hard", marks=pytest.mark.slow)])
def test_the_other_memories_weigh_clusters_by_cameras_and_standardise_them(crowd, tmp_path, kind):
    changes = {
        "memory": MemorySettings(kind, momentum=0.1, floor=0.0, camera_weight=True),
        "cluster": ClusterSettings(
            k1=6, k2=2, min_samples=2, self_paced=False, of="network", standardise_cameras=True, eps=0
        ),
    }
    folder = adapt.run(settings(crowd, tmp_path / kind, **changes))
    assert (last(folder)["buffers"]["memory.labels"] >= -1).all()
    assert 0.1 <= read_log(folder)[-1]["epoch_eps"] <= 0.7


def test_calibrated_normalisation_begins_with_the_statistics_of_the_images(crowd, tmp_path, monkeypatch):
    means = []
    monkeypatch.setattr(adaptation, "EMBEDDED_AT_ONCE", 3)  # fewer than a group
    monkeypatch.setattr(Epochs, "_begin", lambda self, *_: means.append(self.task.model.embedding.running_mean.clone()))
    monkeypatch.setattr(Epochs, "_plan", lambda *_: None)
    for calibrate in (False, True):
        with pytest.raises(TypeError):  # there is no plan
            adapt.run(settings(crowd, tmp_path / str(calibrate), calibrate=calibrate))
    assert (means[0] == 0).all()
    assert (means[1] > 0).sum() > 100  # pooled features are not negative


def test_a_plain_folder_has_no_cameras_unless_they_are_its_sub_folders(crowd, tmp_path, capsys):
    images = sorted((crowd / "bounding_box_train").glob("*.jpg"))
    for image in images:
        place = tmp_path / "images" / image.name.split("_")[1][:2] / f"{image.stem.replace('_', '-')}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(image.read_bytes())
    plain = settings(crowd, tmp_path / "plain", data=DataSettings(root=tmp_path / "images", workers=0), epochs=1)
    log = read_log(adapt.run(plain))[-1]
    assert not {"epoch_camera_nmi", "epoch_nmi"} & log.keys()
    err = capsys.readouterr().err
    assert "the sub-folders look like cameras" in err and "1 epoch of 2 steps of 8 images\n" in err
    assert "warning: only " in err and "too few to learn" in err and "the paper's" not in err
    assert f"page: {plain.out}/index.html\nto score it: rewho evaluate {plain.out} --data PEOPLE\n" in err
    log = read_log(adapt.run(replace(plain, out=tmp_path / "by-folder", cameras="folder")))[-1]
    assert "epoch_camera_nmi" in log
    assert "look like cameras" not in capsys.readouterr().err
    names = sorted(path.relative_to(tmp_path / "images").as_posix() for path in (tmp_path / "images").rglob("*.jpg"))
    (tmp_path / "images" / "list.csv").write_text("\n".join(["path", *names[:50]]))
    listed = replace(plain, out=tmp_path / "listed", data=replace(plain.data, root=tmp_path / "images" / "list.csv"))
    assert read_json(adapt.run(listed) / "model.json")["trained_on"]["images"] == 50
    with pytest.raises(UserError, match="crop set"):
        adapt.run(replace(plain, out=tmp_path / "no", cameras="video"))
    with pytest.raises(UserError, match="whose people are known"):
        adapt.run(replace(plain, out=tmp_path / "no", data=replace(plain.data, hold_out=2)))


def test_a_list_names_cameras(crowd, tmp_path):
    names = [image.name for image in sorted((crowd / "bounding_box_train").glob("*.jpg"))[:4]]
    file = crowd / "bounding_box_train" / "list.csv"
    rows = zip(names, ("gate", "yard", "", "gate"), strict=True)
    file.write_text("\n".join(["path,camera", *(",".join(row) for row in rows)]))
    given = settings(crowd, tmp_path / "listed", data=DataSettings(root=file))
    target = read_target(given)
    assert target.cameras.tolist() == [0, 1, -1, 0]
    assert read_target(replace(given, cameras="unknown")).cameras.tolist() == [-1] * 4
    file.write_text(file.read_text().replace("yard", "gate"))
    assert read_target(given).sha256 != target.sha256
    file.unlink()


@pytest.mark.parametrize(
    ("images", "of", "warned"), [(17, "memory", True), (16, "memory", False), (17, "network", False)]
)
def test_an_epoch_too_short_to_renew_the_clustered_memory_is_told(tmp_path, capsys, images, of, warned):
    given = settings(tmp_path, tmp_path / "short", cluster=ClusterSettings(k1=6, k2=2, of=of))
    adapt._say_visits(given, images)
    printed = "".join(capsys.readouterr())
    assert ("at most 16 of 17 images" in printed and "--steps_per_epoch 3 or more" in printed) == warned
    assert warned or not printed


def test_a_trained_model_is_taken_whole(crowd, people, tmp_path):
    trained = train.run(quick(people, tmp_path / "trained", epochs=1, evaluate_every=-1))
    whole = settings(
        crowd, tmp_path / "whole", epochs=1, model=replace(settings(crowd, Path()).model, pretrained=str(trained))
    )
    card = read_json(adapt.run(whole) / "model.json")
    assert (card["architecture"]["head"], card["embedding_size"]) == ("fc_bn", 16)
    card = read_json(adapt.run(replace(whole, out=tmp_path / "backbone", begin="backbone")) / "model.json")
    assert (card["architecture"]["head"], card["embedding_size"]) == ("bn", 512)


def test_a_network_whose_normalisation_cannot_be_split_adapts_without_groups(crowd, people, tmp_path):
    model = replace(settings(crowd, tmp_path).model, backbone="test_efficientnet")
    given = settings(crowd, tmp_path / "out", model=model, epochs=1, steps_per_epoch=1)
    with pytest.raises(UserError) as error:
        adapt.run(given)
    assert "Pass --group_identities 0" in error.value.fix
    with pytest.raises(UserError) as error:
        adapt.run(replace(given, group_identities=0, source=SourceSettings(root=people, workers=0)))
    assert "group_identities" not in error.value.fix
    adapt.run(replace(given, group_identities=0))


def test_an_image_without_a_finite_embedding_is_named(crowd, tmp_path, monkeypatch):
    def broken(*values, **options):
        for part in adaptation_embed(*values, **options):
            part[3] = np.nan
            yield part

    adaptation_embed = adaptation.embed_batches
    monkeypatch.setattr(adaptation, "embed_batches", broken)
    with pytest.raises(UserError, match=r"0001_c2s1_000001_00\.jpg"):
        adapt.run(settings(crowd, tmp_path / "out"))


@pytest.mark.parametrize(("eps", "got"), [(0.03, "0 at eps"), (0.77, "1 at eps")])
def test_no_cluster_and_one_cluster_stop_with_a_picture_and_advice(crowd, tmp_path, eps, got):
    cluster = ClusterSettings(
        k1=6 if eps < 0.5 else 60, k2=2, min_samples=4 if eps < 0.5 else 2, eps=eps, self_paced=False
    )
    with pytest.raises(UserError, match=got) as error:
        adapt.run(settings(crowd, tmp_path / "none", cluster=cluster))
    assert ("--cluster.eps" if eps < 0.5 else "--cluster.k1") in error.value.fix
    assert (tmp_path / "none" / "clusters.png").read_bytes().startswith(b"\x89PNG")
    adapt.run(settings(crowd, tmp_path / "none", epochs=1, steps_per_epoch=1))  # as advised, in the same folder
    assert not (tmp_path / "none" / "clusters.png").exists()


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"group_identities": 3}, "--group_identities"),
        ({"group_identities": 1, "sampler": SamplerSettings("identities", 8, 1)}, "--group_identities"),
        ({"cluster": ClusterSettings(eps=0, eps_gap=0.2)}, "eps_gap"),
        ({"sampler": SamplerSettings("shuffle", 8)}, "sampler.kind"),
        ({"memory": MemorySettings("centroid")}, "cluster.of"),
        ({"begin": "network"}, "--begin network"),
        ({"cameras": "unknown", "memory": MemorySettings(camera_weight=True)}, "memory.camera_weight"),
    ],
)
def test_mistakes_are_told_before_the_work(crowd, tmp_path, changes, option):
    with pytest.raises(UserError, match=option):
        adapt.run(settings(crowd, tmp_path / "wrong", **changes))
    assert not (tmp_path / "wrong").exists()


def test_a_model_that_comes_with_rewho_is_begun_from_by_its_name(crowd, tmp_path):
    began = ModelSettings(
        backbone="squeezenet1_1_in",
        pooling="gem",
        head="fc_bn",
        embedding=512,
        input_size=(64, 32),
        pretrained="starter",
    )
    made = adapt.run(settings(crowd, tmp_path / "out", model=began, begin="network", epochs=1, steps_per_epoch=1))
    card = read_json(made / "model.json")
    assert card["input_size"] == [192, 96] and card["architecture"]["head"] == "fc_bn"
