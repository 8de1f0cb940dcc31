"""The classes of an epoch: standardised cameras, automatic eps, figures."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.settings import ClusterSettings
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
