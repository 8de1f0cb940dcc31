"""Batches of clusters."""

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.data.cluster_batches import plan_clusters, take_turns
from rewho.settings import SamplerSettings

SETTINGS = SamplerSettings("identities", batch=16, images_per_identity=4)


def draw(labels, cameras, steps=20, seed=1):
    return plan_clusters(SETTINGS, np.array(labels), np.array(cameras), steps, np.random.default_rng(seed))


def test_others_come_from_other_cameras_and_no_cluster_is_cut():
    labels = np.repeat(np.arange(8), 10)
    cameras = np.tile([0, 0, 0, 0, 0, 1, 1, 1, 2, 2], 8)
    for group in draw(labels, cameras).reshape(-1, 4):
        assert len(set(labels[group])) == 1
        assert len(set(group)) == 4
        assert (cameras[group[1:]] != cameras[group[0]]).all()


def test_without_cameras_all_other_images_are_drawn():
    labels = np.repeat(np.arange(8), 6)
    batches = draw(labels, np.full(48, -1))
    assert set(batches.ravel()) == set(range(48))
    assert all(len(set(group)) == 4 for group in batches.reshape(-1, 4).tolist())


def test_single_images_come_once_a_pass_in_groups_of_their_own():
    labels = np.r_[np.repeat([0, 1], 4), np.arange(2, 10)]
    batches = draw(labels, np.zeros(16, int), steps=10)
    alone = [group for group in batches.reshape(-1, 4) if labels[group[0]] >= 2]
    assert all((labels[group] >= 2).all() and len(set(group)) == 4 for group in alone[:4])
    assert {row for group in alone for row in group.tolist()} == set(range(8, 16))


def test_dropped_images_never_come_and_two_images_are_repeated():
    labels = np.array([0, 0, -1, 1, 1, 1, -1])
    batches = draw(labels, np.zeros(7, int))
    assert not np.isin(batches, [2, 6]).any()
    assert (np.bincount(batches.ravel(), minlength=7)[[0, 1, 3, 4, 5]] > 0).all()


def test_draws_depend_on_the_generator_only_and_one_cluster_is_too_few():
    labels, cameras = np.repeat(np.arange(8), 10), np.zeros(80, int)
    assert (draw(labels, cameras, seed=4) == draw(labels, cameras, seed=4)).all()
    assert (draw(labels, cameras, seed=4) != draw(labels, cameras, seed=5)).any()
    with pytest.raises(UserError, match="2 or more"):
        draw([0, 0, 0, 1, 2], np.zeros(5, int))


def test_domains_take_turns_in_groups():
    source, target = np.arange(16).reshape(2, 8), 100 + np.arange(16).reshape(2, 8)
    turns = take_turns(source, target, 4)
    assert turns[1].tolist() == [8, 9, 10, 11, 108, 109, 110, 111, 12, 13, 14, 15, 112, 113, 114, 115]
