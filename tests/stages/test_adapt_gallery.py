"""Adaptation to a gallery: under its judgements, without its forgotten people, and kept only if it is better."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from judged_gallery import make_judged
from quick_settings import CPU
from rewho.core.check import UserError, is_file
from rewho.core.files import read_json
from rewho.gallery import material as module
from rewho.gallery.adaptation import open_gallery
from rewho.gallery.gallery import Gallery
from rewho.gallery.grouping import AVERAGED
from rewho.gallery.model import hash_model
from rewho.rank.grouping import LIMIT
from rewho.settings import (
    AdaptSettings,
    ClusterSettings,
    DataSettings,
    OptimizerSettings,
    SamplerSettings,
)
from rewho.stages import adapt


@pytest.fixture(scope="module")
def judged(model, tmp_path_factory) -> Path:
    """A gallery of 24 people whose first results an oracle judged."""
    return make_judged(tmp_path_factory.mktemp("judged"), model)


@pytest.fixture
def copy(judged, tmp_path) -> Path:
    return Path(shutil.copytree(judged, tmp_path / "gallery"))


def settings(gallery: Path, out: Path, **changes) -> AdaptSettings:
    given = {
        "out": out,
        "data": DataSettings(root=gallery, workers=0),
        "sampler": SamplerSettings("identities", 8, 2),
        "group_identities": 2,
        "engine": CPU,
        "epochs": 1,
        "steps_per_epoch": 2,
        "evaluate_every": -1,
    }
    return AdaptSettings(**{**given, **changes})


def test_what_is_held_out_is_in_no_link(judged):
    with Gallery(judged) as gallery:
        found, links = gallery.material(), gallery.links()
    held = set(found.same.flatten().tolist())
    assert len(found.same) >= module.LEAST and len(found.different) >= module.LEAST
    told = [tuple(found.sightings[row] for row in pair) for pair in found.known.must.tolist()]
    apart = [tuple(found.sightings[row] for row in pair) for pair in found.known.cannot.tolist()]
    assert told and apart
    assert held.isdisjoint(one for pair in (*told, *apart) for one in pair)
    assert set(told) | set(map(tuple, found.same.tolist())) == set(links.must)
    assert set(apart) | set(map(tuple, found.different.tolist())) == set(links.cannot)


def test_clusters_are_those_of_grouping_where_nothing_else_is_asked_for(judged, tmp_path):
    asked = settings(judged, tmp_path / "out", cluster=ClusterSettings(of="network", k1=7))
    found, _ = open_gallery(asked)
    assert (found.cluster.of, found.cluster.k1) == ("network", 7)
    assert (found.cluster.k2, found.cluster.eps, found.cluster.self_paced) == (AVERAGED, LIMIT, False)
    assert found.model.pretrained == str(judged / "model")


def test_clusters_keep_to_the_judgements(copy, tmp_path, monkeypatch):
    seen = []
    real = adapt.AdaptTask.begin_epoch
    monkeypatch.setattr(
        adapt.AdaptTask, "begin_epoch", lambda self, found, *rest: (seen.append(found.labels), real(self, found, *rest))
    )
    adapt.run(settings(copy, tmp_path / "out"))
    with Gallery(copy) as gallery:
        known = gallery.material().known
    (labels,) = seen
    assert (labels[known.must[:, 0]] == labels[known.must[:, 1]]).all()
    assert (labels[known.cannot[:, 0]] != labels[known.cannot[:, 1]]).all()


@pytest.fixture
def orders(monkeypatch):
    """Let the new model be better, or not."""

    def set_to(*, better):
        given = iter(2 * [module.Order(0.5, 0.5), module.Order(0.75, 0.5 if better else 0.4)])
        monkeypatch.setattr("rewho.gallery.adaptation.measure_order", lambda material, embed: next(given))

    return set_to


@pytest.mark.parametrize("better", [True, False])
def test_only_a_better_model_is_kept_and_the_gallery_uses_it(copy, tmp_path, orders, capsys, better):
    orders(better=better)
    start = settings(copy, tmp_path / "out")
    with Gallery(copy) as gallery:
        first, links = gallery.model_sha256, gallery.links()
    out = adapt.run(start)
    assert read_json(out / "judged.json")["kept"] is better
    assert (out / "model.json").is_file() is (out / "model.safetensors").is_file() is better
    text = re.sub(r"\s+", " ", "".join(capsys.readouterr()))
    assert ("the gallery uses it now" in text) is better
    assert ("so the gallery's model stays" in text) is not better
    assert not (out / "checkpoints").exists() and not (out / "index.html").exists()
    with Gallery(copy) as gallery:
        assert gallery.model_sha256 == (hash_model(out) if better else first)
        assert gallery.links() == links and gallery.verify() == []
        gone = min(gallery.audit(action="adapt")[-1].ids["sightings"])
        named = gallery.erasure.forget([gone])["content"]["models trained on them"]
        assert [(one["folder"], one["used"]) for one in named] == ([(str(out), True)] if better else [])


@pytest.mark.parametrize("killed", [True, False])
def test_the_same_command_again_does_nothing_more(copy, tmp_path, orders, monkeypatch, killed):
    orders(better=True)
    start = settings(copy, tmp_path / "out")
    if killed:  # after the gallery got the model, before the run was finished
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(adapt.Stage, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            adapt.run(start)
    else:
        adapt.run(start)
    with Gallery(copy) as gallery:
        used = gallery.model_sha256
    assert adapt.run(start) == tmp_path / "out"
    with Gallery(copy) as gallery:
        assert gallery.model_sha256 == used == hash_model(tmp_path / "out")
        assert len(gallery.audit(action="model")) == 1 and is_file(tmp_path / "out" / "manifest.json")
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_it_does_not_begin_with_a_model_of_somebody_who_is_gone(copy, tmp_path, orders):
    orders(better=True)
    adapt.run(settings(copy, tmp_path / "out"))
    with Gallery(copy) as gallery:
        gallery.erasure.forget([min(gallery.audit(action="adapt")[-1].ids["sightings"])])
    found, _ = open_gallery(settings(copy, tmp_path / "next"))
    assert found.model.pretrained == str(copy / "model")


def test_a_model_of_somebody_who_was_forgotten_meanwhile_is_not_kept(copy, tmp_path, orders, monkeypatch):
    orders(better=True)
    with Gallery(copy) as gallery:
        first, gone = gallery.model_sha256, int(gallery.material().sightings[0])
        real = adapt.keep_if_better
        monkeypatch.setattr(adapt, "keep_if_better", lambda *args: (gallery.erasure.forget([gone]), real(*args))[1])
        with pytest.raises(UserError, match="1 sightings that were forgotten"):
            adapt.run(settings(copy, tmp_path / "out"))
        assert gallery.model_sha256 == first
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_destroyed_model_is_not_better(copy, tmp_path):
    lost = settings(copy, tmp_path / "out", optimizer=OptimizerSettings(learning_rate=0.3), steps_per_epoch=4)
    found = read_json(adapt.run(lost) / "judged.json")
    assert 0.5 < found["before"]["over_everyone"] <= 1 and not found["kept"]


def test_forgotten_people_and_hidden_sightings_are_not_in_it(copy):
    with Gallery(copy) as gallery:
        before = gallery.material()
        gone, hidden = int(before.sightings[0]), int(before.sightings[1])
        gallery.erasure.forget([gone])
        gallery.erasure.hide([hidden])
        after = gallery.material()
        assert set(before.sightings) - set(after.sightings) == {gone, hidden}
        assert len(after.images) == len(before.images) - 2
        assert after.sha256 != before.sha256
        assert gallery.audit(action="adapt")


def test_too_few_judgements_are_refused(copy, tmp_path):
    with Gallery(copy) as gallery, gallery.database.writing() as link:
        link.execute("DELETE FROM judgements WHERE id > 12")
    with pytest.raises(UserError, match="5 pairs of one person and 5 of two"):
        adapt.run(settings(copy, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_order_of_held_out_pairs_is_that_of_their_similarities(judged):
    with Gallery(judged) as gallery:
        found = gallery.material()
    random = np.random.default_rng(1)
    vectors = random.normal(size=(len(found.images), 8)).astype(np.float32)
    chance = module.measure_order(found, lambda images: vectors)
    assert all(0.25 < share < 0.75 for share in chance)
    own = {one: random.normal(size=8) for one in found.sightings}
    groups = {one: one for one in own}
    for one, other in found.same.tolist():
        groups[other] = groups[one] = min(groups[one], groups[other])
    known = np.stack([own[groups[one]] + 0.01 * own[one] for one in found.sightings.tolist()]).astype(np.float32)
    whole = module.measure_order(found._replace(cameras=np.full(len(found.images), -1)), lambda images: known)
    assert min(whole) > 0.99 and whole.is_better_than(chance) and not chance.is_better_than(whole)
