"""What a training gets from a gallery: thumbnails, what is certain about them, and judgements that it does not see.

Thumbnails are all that a gallery keeps of an image: at most 192 pixels high, faces hidden. Hidden and withdrawn
sightings, and sources whose retention has ended, are not among them; forgotten people are in no row at all.

Letters: N crops, S sightings, P pairs of sightings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from rewho.core.artifact import digest
from rewho.core.check import UserError
from rewho.core.runtime import generator
from rewho.core.text import quantity
from rewho.data.images import decode
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.erasure import expired_sources
from rewho.gallery.grouping import read_known
from rewho.gallery.index import UNKNOWN
from rewho.gallery.judgements import frame_pairs
from rewho.gallery.records import SHOWN, Actor
from rewho.gallery.vectors import mean_vector, unit
from rewho.rank.camera_norm import camera_means, centre_by_camera
from rewho.rank.grouping import NOBODY, Constraints, find_contradiction, pairs_of

HELD_OUT = 0.3
"""Share of the judged people that a training does not see."""
LEAST = 5
"""Fewest pairs of one person, and of two, that models are compared by."""


class Material(NamedTuple):
    """Crops of a gallery, those of one sighting one after the other.

    Attributes:
        crops: Ids, int64 [N].
        sightings: Sighting of each, int64 [N].
        images: Thumbnails, JPEG.
        cameras: int64 [N]; -1 where not known.
        quality: float64 [N].
        known: What is certain about the crops, without what is held out.
        same: Pairs of sightings that were judged to be one person, held out, int64 [P, 2].
        different: Pairs that were judged to be two, held out, int64 [P, 2].
        model: Hash of the model that the gallery had.
        sha256: Digest of all of it.
    """

    crops: NDArray[np.int64]
    sightings: NDArray[np.int64]
    images: tuple[bytes, ...]
    cameras: NDArray[np.int64]
    quality: NDArray[np.float64]
    known: Constraints
    same: NDArray[np.int64]
    different: NDArray[np.int64]
    model: str
    sha256: str


def read_material(database: Database, seed: int, by: Actor, folder: str = "") -> Material:
    """Return what a training may use; the reading is in the audit, with the training's folder.

    Raises:
        UserError: The user does not see every camera, judgements contradict one another, or too few can be held out.
    """
    by.need_all("adapt")
    with database.writing():  # one state, and its record
        known, frames, expired = read_known(database), frame_pairs(database), set(expired_sources(database))
        rows = database.rows(
            "SELECT c.id, c.sighting, c.thumbnail, coalesce(s.camera, ?), c.quality, s.source FROM crops c "
            "JOIN sightings s ON s.id = c.sighting WHERE s.state = ? AND c.thumbnail IS NOT NULL "
            "ORDER BY c.sighting, c.id",
            (UNKNOWN, SHOWN),
        )
        rows = [row for row in rows if row[5] not in expired]
        if not rows:
            fix = "Add images with `rewho gallery add`."
            raise UserError("gallery", expected="sightings that are shown, with thumbnails", got="none", fix=fix)
        sightings = np.array([row[1] for row in rows], np.int64)
        there = set(sightings.tolist())
        must, cannot = ([pair for pair in pairs if set(pair) <= there] for pairs in known.links)
        judged = [pair for pair in cannot if pair not in frames]
        held = _hold_out(must, judged, seed)
        same, different = ([pair for pair in pairs if not held.isdisjoint(pair)] for pairs in (must, judged))
        if min(len(same), len(different)) < LEAST:
            expected = f"enough for {LEAST} pairs of one person and {LEAST} of two that the training does not see"
            held_out = f"{len(same):,} and {len(different):,} held out"
            got = f"{quantity(len(must), 'pairs')} of one person and {len(judged):,} of two, {held_out}"
            fix = "Judge results, or answer `rewho gallery review`."
            raise UserError("judgements", expected=expected, got=got, fix=fix)
        marked = [pair for pair in must if held.isdisjoint(pair)]
        apart = [pair for pair in cannot if pair in frames or held.isdisjoint(pair)]
        people = {one: who for one, who in known.people.items() if who in known.settled and one not in held}
        constraints = _constrain(sightings, marked, apart, people)
        audit.append(
            database, by.who, by.purpose, "adapt", {"crops": len(rows), "folder": folder}, sightings=sorted(there)
        )
        model = database.read("model")
    crops = [row[0] for row in rows]
    return Material(
        np.array(crops, np.int64),
        sightings,
        tuple(row[2] for row in rows),
        np.array([row[3] for row in rows], np.int64),
        np.array([row[4] for row in rows], np.float64),
        constraints,
        pairs_of(same),
        pairs_of(different),
        model,
        digest([model, crops, marked, apart, sorted(people.items()), seed]),
    )


def _constrain(
    sightings: NDArray[np.int64],
    must: Sequence[tuple[int, int]],
    cannot: Sequence[tuple[int, int]],
    people: Mapping[int, int],
) -> Constraints:
    """Return what is certain of sightings by their crops: each sighting is one person.

    Raises:
        UserError: It is a contradiction.
    """
    first = {int(one): at for at, one in reversed(list(enumerate(sightings)))}
    owners = np.full(len(sightings), NOBODY, np.int64)
    for one, person in people.items():
        if one in first:
            owners[first[one]] = person
    tracks = np.flatnonzero(sightings[1:] == sightings[:-1])
    marked = pairs_of([(first[one], first[other]) for one, other in must])
    known = Constraints(
        np.concatenate([np.stack([tracks, tracks + 1], axis=1), marked]),
        pairs_of([(first[one], first[other]) for one, other in cannot]),
        owners,
    )
    if chain := find_contradiction(len(sightings), known):
        got = " = ".join(str(sightings[row]) for row in chain) + ", though the first and the last are two people"
        fix = "Run `rewho gallery group`, which names the judgements, and correct them."
        raise UserError("judgements", expected="no contradiction", got=got, fix=fix)
    return known


def _hold_out(must: Sequence[tuple[int, int]], judged: Sequence[tuple[int, int]], seed: int) -> frozenset[int]:
    """Return sightings whose judgements a training does not see: whole people, of those that were judged."""
    ids = sorted({one for pair in (*must, *judged) for one in pair})
    place = {one: at for at, one in enumerate(ids)}
    links = pairs_of([(place[one], place[other]) for one, other in must])
    shape = (len(ids), len(ids))
    graph = sparse.coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=shape)
    person = csgraph.connected_components(graph.tocsr(), directed=False)[1] if ids else np.zeros(0, np.int64)
    several = np.flatnonzero(np.bincount(person, minlength=1) > 1)
    order = generator(seed, "held-out judgements").permutation(several)
    chosen = set(order[: round(HELD_OUT * len(order))].tolist())
    return frozenset(one for one, own in zip(ids, person.tolist(), strict=True) if own in chosen)


class Order(NamedTuple):
    """How often a model finds a held-out pair of one person more alike than others, 0 to 1; ties count half.

    What was judged are the first results of the gallery's model. A "no" is a stranger that this model takes for the
    person, so `over_refused` favours any other model; a "yes" is what it finds, so `over_everyone` favours it.

    Attributes:
        over_refused: More alike than the held-out pairs of two people.
        over_everyone: More alike than one of the two is to another sighting.
    """

    over_refused: float
    over_everyone: float

    def is_better_than(self, other: Order) -> bool:
        """Return whether judgements are ordered better, and everybody else at least as well."""
        return self.over_refused > other.over_refused and self.over_everyone >= other.over_everyone


def measure_order(material: Material, embed: Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]) -> Order:
    """Return how well a model orders what is held out; sightings are compared relative to the means of their cameras.

    Args:
        material: Of the gallery.
        embed: Returns the embeddings [K, D] of images.
    """
    names = [f"crop {one}" for one in material.crops.tolist()]
    vectors = embed([decode(data, name) for data, name in zip(material.images, names, strict=True)])
    ids, begin = np.unique(material.sightings, return_index=True)
    ends = np.append(begin[1:], len(vectors))
    spans = [slice(start, stop) for start, stop in zip(begin, ends, strict=True)]
    means = unit(np.stack([mean_vector(vectors[span], material.quality[span].tolist()) for span in spans]))
    cameras = material.cameras[begin]
    centred = centre_by_camera(means, cameras, camera_means(means, cameras))
    same, different = (np.searchsorted(ids, pairs) for pairs in (material.same, material.different))
    alike, refused = ((centred[pairs[:, 0]] * centred[pairs[:, 1]]).sum(axis=1) for pairs in (same, different))
    ascending = np.sort(refused)
    over_refused = sum(np.searchsorted(ascending, alike, side).mean() for side in ("left", "right")) / 2 / len(refused)
    mates = {int(one): {int(one)} for one in same.ravel()}
    for one, other in same.tolist():
        mates[one].add(other)
        mates[other].add(one)
    shares = []
    for pair, wanted in zip(same.tolist(), alike.tolist(), strict=True):
        for one in pair:
            others = np.delete(centred @ centred[one], sorted(mates[one]))
            shares.append((others < wanted).mean() + (others == wanted).mean() / 2)
    return Order(float(over_refused), float(np.mean(shares)))
