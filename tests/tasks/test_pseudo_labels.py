"""The classes of an epoch: standardised cameras, automatic eps, figures."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.rank.reliability import Reliability
from rewho.settings import ClusterSettings
from rewho.tasks import pseudo_labels
from rewho.tasks.pseudo_labels import FEWEST_TO_STANDARDISE, figure_names, make_labels, standardise_cameras

RANDOM = np.random.default_rng(5)
PEOPLE, EACH = 12, 20
IDENTITIES = np.repeat(np.arange(PEOPLE), EACH)
CAMERAS = np.tile(np.arange(EACH) % 2, PEOPLE)
OWN = np.repeat(RANDOM.normal(size=(PEOPLE, 24)), EACH, axis=0) + 0.3 * RANDOM.normal(size=(PEOPLE * EACH, 24))
SHIFTED = (OWN + 4 * CAMERAS[:, None] * RANDOM.normal(size=24)).astype("f4")
SETTINGS = ClusterSettings(k1=15, k2=4)


def test_standardised_cameras_bring_the_people_of_two_cameras_together():
    apart = make_labels(SHIFTED, CAMERAS, IDENTITIES, SETTINGS, drop=True).figures
    settings = ClusterSettings(k1=15, k2=4, standardise_cameras=True)
    together = make_labels(SHIFTED, CAMERAS, IDENTITIES, settings, drop=True).figures
    assert together["camera_nmi"] < 0.1 < apart["camera_nmi"]
    assert together["nmi"] > apart["nmi"]
    assert together["clusters"] == PEOPLE


def test_every_camera_gets_mean_0_and_small_or_unknown_ones_stay():
    cameras = np.r_[np.zeros(100, int), np.ones(FEWEST_TO_STANDARDISE - 1, int), np.full(125, -1)]
    moved = standardise_cameras(SHIFTED, cameras[:240])
    units = SHIFTED / np.linalg.norm(SHIFTED, axis=1, keepdims=True)
    assert moved[100:] == pytest.approx(units[100:], abs=1e-6)
    assert np.abs(moved[:100].mean(axis=0)).max() < 0.05
    assert np.linalg.norm(moved, axis=1) == pytest.approx(np.ones(240), abs=1e-5)
    assert np.isfinite(standardise_cameras(np.ones((20, 3), "f4"), np.zeros(20, int))).all()


def test_the_automatic_eps_finds_the_people_and_stays_when_it_is_given():
    first = make_labels(OWN.astype("f4"), CAMERAS, None, ClusterSettings(k1=15, k2=4, eps=0), drop=False)
    assert 0.5 < first.eps <= 0.7
    assert first.figures["clusters"] == PEOPLE
    again = make_labels(SHIFTED, CAMERAS, None, ClusterSettings(k1=15, k2=4, eps=0), drop=False, eps=first.eps)
    assert again.eps == first.eps


@pytest.mark.parametrize("cameras", [CAMERAS, np.full(240, -1)])
@pytest.mark.parametrize("identities", [IDENTITIES, None])
def test_the_figures_are_those_that_were_announced(cameras, identities):
    found = make_labels(OWN.astype("f4"), cameras, identities, SETTINGS, drop=False)
    known = figure_names(cameras=len(np.unique(cameras)) > 1, identities=identities is not None)
    assert set(found.figures) == set(known)
    assert np.isfinite(list(found.figures.values())).all()


def test_dropped_images_are_those_alone_and_kept_ones_have_company():
    kept = make_labels(SHIFTED, CAMERAS, None, SETTINGS, drop=False)
    dropped = make_labels(SHIFTED, CAMERAS, None, SETTINGS, drop=True)
    sizes = np.bincount(kept.labels)[kept.labels]
    assert ((dropped.labels == -1) == (sizes == 1)).all()
    assert dropped.threshold == kept.threshold


def test_random_vectors_have_no_clusters_and_the_curve_is_drawn():
    noise, drawn = RANDOM.normal(size=(300, 64)).astype("f4"), []
    with pytest.raises(UserError, match="in none"):
        make_labels(
            noise, np.full(300, -1), None, ClusterSettings(eps=0.2), drop=True, draw=lambda *curve: drawn.append(curve)
        )
    assert len(drawn[0][0]) == 300


def curve_of(embeddings, cameras=None, eps_before=None, **settings):
    """Return the error and how often the curve was drawn."""
    drawn = []
    cameras = np.full(len(embeddings), -1) if cameras is None else cameras
    with pytest.raises(UserError) as error:
        make_labels(
            embeddings.astype("f4"),
            cameras,
            None,
            ClusterSettings(**{"k1": 6, "k2": 2, "min_samples": 2, **settings}),
            drop=False,
            eps=eps_before,
            draw=lambda *curve: drawn.append(curve),
        )
    return error.value, len(drawn)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-4])
def test_collapsed_embeddings_stop_instead_of_being_clustered_by_their_rounding(noise, standardise):
    embeddings = np.full((60, 16), 0.25) + noise * RANDOM.normal(size=(60, 16))
    error, drawn = curve_of(embeddings, np.arange(60) % 2, standardise_cameras=standardise)
    assert "collapsed" in error.got and drawn == 1
    assert "learning_rate" not in error.fix and "--out" not in error.fix
    later, _ = curve_of(embeddings, np.arange(60) % 2, eps_before=0.6, standardise_cameras=standardise)
    assert "learning_rate" in later.fix and "Choose another --out" in later.fix


def test_the_advice_fits_the_cause():
    people = np.repeat(RANDOM.normal(size=(3, 16)), 4, axis=0) + 0.1 * RANDOM.normal(size=(12, 16))
    error, _ = curve_of(people, k1=30, k2=6, eps=0.78, self_paced=False)
    assert error.fix.startswith("Pass --cluster.k1 4 --cluster.k2 1")
    assert make_labels(people, np.full(12, -1), None, ClusterSettings(k1=4, k2=1), drop=False).figures["clusters"] == 3
    few = np.r_[np.repeat(RANDOM.normal(size=(1, 64)), 4, axis=0), RANDOM.normal(size=(12, 64))]
    error, _ = curve_of(few, k1=4, k2=1, eps=0.1)
    assert error.got.startswith("1 at eps") and error.fix.startswith("Raise --cluster.eps")


def test_clusters_that_no_other_eps_confirms_are_not_told_as_too_few_clusters(monkeypatch):
    monkeypatch.setattr(pseudo_labels, "select_reliable", lambda labels, *_: Reliability(labels, 1, None, None, 0.5))
    error, drawn = curve_of(OWN, k1=15, k2=4)
    assert error.got.startswith(f"1 of {PEOPLE}") and "self_paced false" in error.fix and drawn == 1


def test_a_camera_of_copies_is_not_scaled_to_its_rounding():
    copies = np.full((20, 8), 0.3) + 1e-8 * RANDOM.normal(size=(20, 8))
    moved = standardise_cameras(copies, np.zeros(20, np.int64))
    assert moved @ moved.T == pytest.approx(1, abs=1e-5)
