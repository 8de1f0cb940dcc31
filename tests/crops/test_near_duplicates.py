"""Near-duplicates: planted copies are found, different crops are kept, and time grows with their number alone."""

import time

import cv2
import numpy as np
import pytest

from rewho.crops.near_duplicates import (
    compute_fingerprint,
    find_close_pairs,
    find_distinct,
    find_shared,
    stack_fingerprints,
)
from rewho.rendered import write_people

CHANGES = ("encoded", "smaller", "lighter", "shifted", "larger")


def changed(image: np.ndarray, how: str) -> np.ndarray:
    """Return a near copy."""
    if how == "encoded":
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    if how == "smaller":
        return cv2.resize(image, None, fx=0.8, fy=0.8)
    if how == "lighter":
        return np.clip(image.astype(int) + 15, 0, 255).astype(np.uint8)
    if how == "shifted":
        return np.ascontiguousarray(image[1:, 1:])
    return cv2.resize(np.clip(image * 1.1, 0, 255).astype(np.uint8), None, fx=1.3, fy=1.3)


def check_recall(images: list[np.ndarray], copies: int) -> None:
    """Plant exact and near copies among images; check which are found."""
    random = np.random.default_rng(1)
    chosen = random.choice(len(images), 2 * copies, replace=False)
    near = [changed(images[row], CHANGES[at % 5]) for at, row in enumerate(chosen[:copies])]
    prints = [compute_fingerprint(image) for image in [*images, *near, *(images[row] for row in chosen[copies:])]]
    exact = [f"{row}" for row in range(len(images) + copies)] + [f"{row}" for row in chosen[copies:]]
    began = time.process_time()
    keep = find_distinct(stack_fingerprints(prints), exact)
    assert time.process_time() - began < 60
    originals, near_kept, exact_kept = keep[: len(images)], keep[len(images) : -copies], keep[-copies:]
    assert not exact_kept.any(), "every exact copy is found"
    assert near_kept.mean() <= 0.05, f"{near_kept.sum()} of {copies} near copies were not found"
    assert (~originals).mean() <= 0.005, f"{(~originals).sum()} different crops were taken for copies"


def test_planted_copies_among_real_crops(shared):
    files = sorted((shared / "data" / "cuhk03-np" / "detected" / "bounding_box_train").iterdir())[:1200]
    check_recall([cv2.imread(str(file)) for file in files], 100)


@pytest.mark.slow
def test_a_thousand_copies_among_six_thousand_real_crops(shared):
    files = sorted((shared / "data" / "cuhk03-np" / "detected" / "bounding_box_train").iterdir())[:6000]
    check_recall([cv2.imread(str(file)) for file in files], 500)


def test_pairs_are_those_of_comparing_all_with_all():
    random = np.random.default_rng(3)
    prints = random.integers(0, 2**64, (300, 4), np.uint64)
    for row in range(60):
        bits = random.choice(256, 2 + row % 15, replace=False)
        flipped = np.unpackbits(prints[row].view(np.uint8))
        flipped[bits] ^= 1
        prints[240 + row] = np.packbits(flipped).view(np.uint64)
    different = np.bitwise_count(prints[:, None] ^ prints[None]).sum(-1)
    expected = np.argwhere(np.triu(different <= 24, 1))
    assert find_close_pairs(prints).tolist() == expected.tolist() and len(expected) == 60
    assert find_close_pairs(prints[:1]).shape == find_close_pairs(prints[:0]).shape == (0, 2)


def test_the_first_of_many_alike_stays():
    prints = stack_fingerprints([bytes(32)] * 100 + [b"\xff" * 32] * 3)
    keep = find_distinct(prints, [str(number) for number in range(103)])
    assert np.flatnonzero(keep).tolist() == [0, 100]
    assert find_distinct(prints, ["same"] * 103, distance=-1).sum() == 1
    assert find_distinct(prints, [str(number) for number in range(103)], distance=-1).all()
    assert find_distinct(prints[:0], []).tolist() == []


def test_what_two_sets_share_is_reported():
    first, second = (
        stack_fingerprints([bytes(32), b"\xff" * 32]),
        stack_fingerprints([b"\x0f" * 32, b"\xfe" + b"\xff" * 31]),
    )
    assert find_shared(first, second) == [(1, 1, 1)]


def test_rendered_people_are_told_apart(tmp_path):
    folder = tmp_path / "people"
    write_people(folder, identities=30, test_identities=2, cameras=2, images_per_camera=2, workers=0)
    files = sorted((folder / "bounding_box_train").iterdir())
    keep = find_distinct(
        stack_fingerprints([compute_fingerprint(cv2.imread(str(file))) for file in files]),
        [file.name for file in files],
    )
    assert len(files) >= 100 and keep.mean() > 0.99
