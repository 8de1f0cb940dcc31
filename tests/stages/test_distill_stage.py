"""Teachers, representations and distillation on rendered people: contracts, resuming, refusals."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from quick_settings import CPU, VIEWS, distilling, quick, teacher_settings
from rewho.core.artifact import MANIFEST, compute_hashes, write_json
from rewho.core.check import UserError
from rewho.core.record import KEPT, find_damage
from rewho.data.datasets import read_settings
from rewho.embedding.embedder import load
from rewho.models.factorization import load_branches
from rewho.models.heads import Classifier
from rewho.models.single_view import parameter_count
from rewho.models.weights import CLASSIFIER, load_classifier, load_model
from rewho.settings import (
    AugmentSettings,
    BranchSettings,
    DataSettings,
    LossSettings,
    MimicSettings,
    ModelSettings,
    RepresentSettings,
    SamplerSettings,
)
from rewho.stages import distill, represent, teachers, train
from rewho.tasks.labelled import select_training_part
from rewho.tasks.representations import INDEX, open_representations
from rewho.training.checkpoint import load_checkpoint
from rewho.training.log import read_log


@pytest.fixture(scope="session")
def student(people, model, representations, tmp_path_factory):
    return distill.run(distilling(people, model, representations, tmp_path_factory.mktemp("final") / "student"))


def test_every_view_gets_a_teacher_of_its_width(experts):
    widths = {view: load_model(experts / view)[0].settings.embedding for view in VIEWS}
    assert widths == {"holistic": 12, "up1": 8}
    assert load_model(experts / "up1")[0].input_size == (48, 48)


def test_finished_teachers_are_skipped(people, experts, capsys):
    teachers.run(teacher_settings(people, experts))
    assert capsys.readouterr().err.count("is finished") == len(VIEWS)


def test_representations_are_flip_averages_in_the_order_of_the_training_images(people, experts, representations):
    part = select_training_part(read_settings(DataSettings(root=people)))
    found = open_representations(representations, part.digest())
    assert found.widths == {"holistic": 12, "up1": 8}
    expected = load(experts / "up1", "cpu").embed([part.file(row) for row in range(len(part))])
    assert np.allclose(found.array("up1"), expected, atol=1e-5)
    rows = np.array([5, 2])
    gathered = found.gather(rows)
    assert gathered.shape == (2, 20)
    assert np.array_equal(gathered[:, 12:], found.array("up1")[rows])
    assert np.array_equal(found.select(["up1"]).gather(rows), gathered[:, 12:])


def test_half_precision_changes_little(people, experts, representations, tmp_path):
    half = represent.run(
        RepresentSettings((experts,), tmp_path / "half", DataSettings(root=people), dtype="float16", engine=CPU)
    )
    full, stored = open_representations(representations), open_representations(half)
    assert stored.array("up1").dtype == np.float16
    assert np.allclose(full.array("up1"), stored.array("up1"), rtol=1e-3, atol=1e-4)


def test_half_precision_does_not_change_a_distillation_measurably(people, model, experts, representations, tmp_path):
    half = represent.run(
        RepresentSettings((experts,), tmp_path / "half", DataSettings(root=people), dtype="float16", engine=CPU)
    )
    logs = [
        read_log(
            distill.run(distilling(people, model, said, tmp_path / f"from-{said.name}", epochs=1, evaluate_every=-1))
        )
        for said in (representations, half)
    ]
    full, stored = ([line["total"] for line in log if "learning_rate" in line] for log in logs)
    assert stored[0] == pytest.approx(full[0], rel=1e-4)
    assert stored == pytest.approx(full, rel=1e-2)  # the first steps of an untrained network multiply any difference


def test_an_interrupted_extraction_goes_on_with_the_missing_view(people, experts, representations, tmp_path, capsys):
    folder = tmp_path / "representations"
    shutil.copytree(representations, folder)
    for name in (MANIFEST, INDEX, "up1.npy"):
        (folder / name).unlink()
    write_json(folder / KEPT, {"files": compute_hashes(folder, [folder / "holistic.npy"])})
    represent.run(RepresentSettings((experts,), folder, DataSettings(root=people), engine=CPU, batch=16))
    assert "holistic: already written" in capsys.readouterr().err
    assert (folder / "up1.npy").read_bytes() == (representations / "up1.npy").read_bytes()
    assert find_damage(folder) is None


def test_a_flipped_bit_is_found(representations, tmp_path):
    folder = tmp_path / "representations"
    shutil.copytree(representations, folder)
    content = bytearray((folder / "up1.npy").read_bytes())
    content[200] ^= 1
    (folder / "up1.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"up1\.npy does not match"):
        open_representations(folder)


def test_other_images_and_other_students_are_refused(people, model, representations, tmp_path):
    fewer = DataSettings(root=people, workers=0, share=0.5)
    with pytest.raises(UserError, match="trained on these images"):
        distill.run(distilling(people, model, representations, tmp_path / "a", data=fewer))
    with pytest.raises(UserError, match="representations of these training images"):
        distill.run(distilling(people, model, representations, tmp_path / "b", data=fewer, classifier="new"))
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_images_replaced_under_their_names_are_refused(people, model, experts, representations, tmp_path):
    moved, said = tmp_path / "people", tmp_path / "said"
    shutil.copytree(people, moved)
    shutil.copytree(representations, said)
    again = RepresentSettings((experts,), said, DataSettings(root=moved), engine=CPU, batch=16)
    represent.run(again)
    settings = distilling(people, model, said, tmp_path / "out", data=DataSettings(root=moved, workers=0))
    image = select_training_part(read_settings(again.data)).file(3)
    image.write_bytes(image.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"inputs\.images: '\w{12}…' -> '\w{12}…'"):
        represent.run(again)
    with pytest.raises(UserError, match="those of other images with the same names"):
        distill.run(settings)
    assert not settings.out.exists()


def test_a_student_of_many_branches_is_refused(people, model, representations, tmp_path):
    folder = tmp_path / "mgn"
    train.run(
        quick(
            people,
            folder,
            model=ModelSettings(kind="bdb", embedding=12, input_size=(64, 32), pretrained="none"),
            epochs=1,
            steps_per_epoch=1,
            evaluate_every=-1,
        )
    )
    with pytest.raises(UserError, match="single-view model"):
        distill.run(distilling(people, folder, representations, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_view_that_is_not_there_is_named(people, model, representations, tmp_path):
    with pytest.raises(UserError, match="up1"):
        distill.run(distilling(people, model, representations, tmp_path / "out", views=("upp1",)))


def test_the_student_has_its_old_size_and_no_branch(student, model):
    final, card = load_model(student)
    assert parameter_count(final) == parameter_count(load_model(model)[0])
    assert set(load_file(student / "model.safetensors")) == set(load_file(model / "model.safetensors"))
    assert card["provenance"]["views"] == list(VIEWS)
    counts = json.loads((student / MANIFEST).read_text())["counts"]
    assert counts["parameters_of_branches"] > 0
    assert find_damage(student) is None


def test_every_term_is_logged(student):
    first = read_log(student)[0]
    terms = {f"{kind}_{view}" for kind in ("attribute", "metric") for view in VIEWS}
    assert terms <= set(first)
    weighted = sum(2 * first[f"attribute_{view}"] + first[f"metric_{view}"] for view in VIEWS)  # 4/2 and 2/2
    assert first["total"] == pytest.approx(first["cross_entropy"] + weighted, rel=1e-5)


def test_it_begins_with_the_students_network_and_classifier(people, model, representations, tmp_path):
    settings = distilling(people, model, representations, tmp_path / "out", epochs=1, steps_per_epoch=1)
    frozen = replace(settings, optimizer=replace(settings.optimizer, learning_rate=0.0), evaluate_every=-1)
    distill.run(frozen)
    before, after = load_file(model / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before if not re.search("running|batches", name))
    assert torch.equal(load_file(model / CLASSIFIER)["weight"], load_file(tmp_path / "out" / CLASSIFIER)["weight"])


def test_the_branches_are_kept_for_images(student):
    branches = load_branches(student)
    assert branches is not None
    assert branches.views == VIEWS
    assert branches.attention_map(torch.randn(1, 512, 4, 2), "up1").shape == (1, 4, 2)


def test_a_student_in_its_teachers_space_answers_as_its_branch_would(people, model, representations, tmp_path):
    own = distill.run(distilling(people, model, representations, tmp_path / "own"))
    folded = distill.run(distilling(people, model, representations, tmp_path / "in", embedding_space="teacher"))
    assert not (folded / CLASSIFIER).exists()  # it belongs to the student's own representation
    (before, _), (after, card) = load_model(own), load_model(folded)
    assert type(after.embedding) is type(before.embedding)
    assert card["architecture"]["embedding"] == 12  # the holistic teacher's
    images = torch.randint(0, 255, (4, 3, 64, 32), dtype=torch.uint8)
    feature_map = before.eval().feature_map(images)
    expected = load_branches(own)(feature_map, before.represent(feature_map))["holistic"].from_representation
    torch.testing.assert_close(after.eval()(images), expected, atol=1e-4, rtol=1e-4)
    again = distilling(people, folded, representations, tmp_path / "again")
    with pytest.raises(UserError, match="--classifier new"):
        distill.run(again)
    assert load_model(distill.run(replace(again, classifier="new")))[1]["embedding_size"] == 12


def test_a_space_without_a_teacher_is_refused(people, model, representations, tmp_path):
    settings = distilling(people, model, representations, tmp_path / "out", embedding_space="teacher", views=("up1",))
    with pytest.raises(UserError, match="own view"):
        distill.run(settings)
    without = BranchSettings(features=16, from_representation=False)
    with pytest.raises(UserError, match="representation branches"):
        distill.run(replace(settings, out=tmp_path / "other", views=(), branches=without))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": LossSettings(identity=0.5)}, "--loss.identity: expected 1.0"),
        ({"loss": LossSettings(triplet=5.0)}, "--loss.triplet: expected 0.0"),
        ({"loss": LossSettings(classifier="circle")}, "--loss.classifier: expected linear"),
        ({"augment": AugmentSettings(crop_padding=30)}, "--augment.crop_padding: expected 0"),
        ({"augment": AugmentSettings(crop_padding=0, rotation=45.0)}, "--augment.rotation: expected 0"),
    ],
)
def test_what_a_distillation_would_ignore_or_cannot_bear_is_refused(
    people, model, representations, tmp_path, change, message
):
    with pytest.raises(UserError, match=re.escape(message)):
        distill.run(distilling(people, model, representations, tmp_path / "out", **change))
    assert not (tmp_path / "out").exists()


def test_a_classifier_of_cosines_is_refused(people, model, representations, tmp_path):
    short = {"epochs": 1, "steps_per_epoch": 1, "evaluate_every": -1}
    circle = train.run(quick(people, tmp_path / "circle", loss=LossSettings(classifier="circle"), **short))
    kinds = [json.loads((folder / "model.json").read_text())["classifier"] for folder in (model, circle)]
    assert kinds == ["linear", "circle"]
    settings = distilling(people, circle, representations, tmp_path / "out", **short)
    with pytest.raises(UserError, match="--classifier new"):
        distill.run(settings)
    assert not (tmp_path / "out").exists()
    assert load_model(distill.run(replace(settings, classifier="new")))[1]["classifier"] == "linear"


def test_the_students_own_view_is_known_by_its_box(people, representations, tmp_path):
    """Whatever it is called, the branch that corresponds to the whole image selects nothing and can be folded."""
    (tmp_path / "whole.yaml").write_text("name: whole\nbox: {top: 0, bottom: 1}\nsize: [64, 32]\n")
    short = {"epochs": 1, "steps_per_epoch": 1, "evaluate_every": -1}
    start = quick(people, tmp_path / "initial", **short)
    initial = train.run(replace(start, model=replace(start.model, view=str(tmp_path / "whole.yaml"))))
    settings = distilling(people, initial, representations, tmp_path / "out", embedding_space="teacher", **short)
    assert load_model(distill.run(settings))[1]["embedding_size"] == 12  # the holistic teacher's
    assert load_branches(tmp_path / "out").student_view == "holistic"


def test_a_wrong_classifier_is_refused(model):
    with pytest.raises(UserError, match=r"classifier\.safetensors"):
        load_classifier(model, Classifier(16, 3))


@pytest.mark.parametrize(
    "change",
    [
        {"mimic": MimicSettings(balance="scale")},
        {"mimic": MimicSettings(balance="uncertainty", distance="mean")},
        {"mimic": MimicSettings(distance="cosine", divide_by="kept", dropout=0.5)},
        {"branches": BranchSettings(features=16, from_map=False)},
        {"branches": BranchSettings(features=16, from_representation=False, warmup_epochs=1)},
        {"views": ("up1",), "sampler": SamplerSettings(batch=8, accumulate=2)},
    ],
)
def test_every_option_trains(people, model, representations, tmp_path, change):
    out = distill.run(
        distilling(people, model, representations, tmp_path / "out", epochs=1, evaluate_every=-1, **change)
    )
    steps = [line for line in read_log(out) if "learning_rate" in line]
    assert len(steps) == 3
    assert all(np.isfinite(line["total"]) for line in steps)


def test_branches_that_warm_up_leave_the_student_to_the_identity_loss(people, model, representations, tmp_path):
    """With the identity loss alone the student must move exactly as it does beside warming branches."""
    warm = distilling(people, model, representations, tmp_path / "warm", epochs=1, evaluate_every=-1)
    warm = replace(warm, branches=BranchSettings(features=16, warmup_epochs=1))
    off = replace(warm, out=tmp_path / "off", mimic=MimicSettings(alpha=0.0, beta=0.0), branches=BranchSettings(16))
    first, second = (load_file(distill.run(one) / "model.safetensors") for one in (warm, off))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_online_representations_of_an_unchanged_image_equal_the_stored_ones(
    people, model, experts, representations, tmp_path
):
    """Without augmentation both ways see the same images, up to where the image was resized."""
    still = AugmentSettings(flip=0.0, crop_padding=0, erase=0.0)
    stored = distilling(people, model, representations, tmp_path / "stored", augment=still, epochs=1, steps_per_epoch=1)
    online = replace(stored, out=tmp_path / "online", sr="online", teachers=(experts,))
    first, second = (read_log(distill.run(replace(one, evaluate_every=-1)))[0] for one in (stored, online))
    assert second["cross_entropy"] == pytest.approx(first["cross_entropy"], rel=1e-6)
    assert second["attribute_holistic"] == pytest.approx(first["attribute_holistic"], rel=0.05)
    assert second["attribute_up1"] == pytest.approx(first["attribute_up1"], rel=0.15)


def test_a_network_of_others_teaches_online_too(people, model, experts, representations, tmp_path):
    description = tmp_path / "other.yaml"
    description.write_text("network: timm:resnet10t\nweights: none\nview: up1\nsize: [32, 32]\n")
    online = distilling(people, model, representations, tmp_path / "out", epochs=1, steps_per_epoch=1, sr="online")
    out = distill.run(replace(online, teachers=(experts / "holistic", description), evaluate_every=-1))
    assert np.isfinite(read_log(out)[0]["attribute_up1"])
    assert load_branches(out).widths == {"holistic": 12, "up1": 512}
    with pytest.raises(UserError, match="two or more for up1"):
        distill.run(replace(online, teachers=(experts, description), out=tmp_path / "twice"))


def test_fifty_steps_twice_are_the_same_to_the_bit(people, model, representations, tmp_path):
    settings = distilling(
        people, model, representations, tmp_path / "first", epochs=10, steps_per_epoch=5, evaluate_every=-1
    )
    first, second = (
        [line["total"] for line in read_log(distill.run(one)) if "learning_rate" in line]
        for one in (settings, replace(settings, out=tmp_path / "second"))
    )
    assert len(first) == 50
    assert first == second
    assert np.mean(first[-10:]) < np.mean(first[:10])


def test_sigterm_saves_and_exits_with_75(people, model, representations, tmp_path):
    words = ["distill", "--student", model, "--representations", representations, "--data.root", people]
    words += ["--out", tmp_path / "out", "--data.workers", "0", "--sampler.batch", "8", "--branches.features", "16"]
    words += ["--engine.device", "cpu", "--epochs", "500", "--evaluate_every", "-1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rewho", *map(str, words)], stderr=subprocess.PIPE, env={**os.environ}, text=True
    )
    began = time.monotonic()
    while not (tmp_path / "out" / "log.jsonl").is_file() and time.monotonic() - began < 500:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert load_checkpoint(tmp_path / "out" / "checkpoints") is not None


def test_a_student_of_a_part_of_the_body_is_refused(people, representations, tmp_path):
    start = quick(people, tmp_path / "upper")
    upper = train.run(replace(start, model=replace(start.model, view="up1", input_size=(48, 48))))
    with pytest.raises(UserError, match="one for the view up1"):
        distill.run(distilling(people, upper, representations, tmp_path / "distilled"))
    assert not (tmp_path / "distilled").exists()


def test_teachers_that_are_named_must_have_made_the_representations(people, model, experts, representations, tmp_path):
    settings = distilling(people, model, representations, tmp_path / "distilled", steps_per_epoch=1, epochs=1)
    distill.run(replace(settings, teachers=(experts,)))
    other = train.run(replace(quick(people, tmp_path / "other"), seed=2))
    with pytest.raises(UserError, match="representations that the teacher of holistic made"):
        distill.run(replace(settings, out=tmp_path / "again", teachers=(other,)))
    assert not (tmp_path / "again").exists()


def test_representations_that_were_made_again_are_the_same(people, model, experts, representations, tmp_path):
    """Only what the arrays hold counts, not when and by which command they were written."""
    settings = distilling(people, model, representations, tmp_path / "distilled", steps_per_epoch=1, epochs=1)
    finished = distill.run(settings)
    before = (finished / "manifest.json").read_bytes()
    said = RepresentSettings(teachers=(experts,), out=tmp_path / "said", data=settings.data, engine=CPU, batch=16)
    assert distill.run(replace(settings, representations=represent.run(said))) == finished
    assert (finished / "manifest.json").read_bytes() == before
