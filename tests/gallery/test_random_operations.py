"""Random operations against a dictionary and NumPy: the same sightings, in the same order, with the same people."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rewho.core.check import UserError
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Filters
from small_gallery import crops_of, fill, random_vectors

CAMERAS = ("door", "yard", "lift")
picks = st.integers(0, 10**6)


class Operations(RuleBasedStateMachine):
    template: Path

    def __init__(self):
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="gallery-"))
        self.gallery = Gallery(shutil.copytree(self.template, self.place / "g"))
        self.known = {}  # id → [unit vector, camera, time, person, hidden]
        self.refused = set()
        self.names = {}
        self.added = 0

    def teardown(self):
        self.gallery.close()
        shutil.rmtree(self.place)

    def pick(self, number):
        return sorted(self.known)[number % len(self.known)]

    @initialize()
    def begin(self):
        self.add(5, 1)

    @rule(count=st.integers(1, 8), seed=picks)
    def add(self, count, seed):
        vectors = random_vectors(count, seed)
        if self.known and seed % 3 == 0:
            vectors[0] = self.known[self.pick(seed)][0]  # an equal embedding
        crops = crops_of(count, CAMERAS, first=self.added)
        before = max(self.known, default=0)
        done = fill(self.gallery, vectors, crops)
        assert done.sightings == count
        self.added += count
        rows = self.gallery.database.rows("SELECT id, embedding FROM sightings ORDER BY id DESC LIMIT ?", (count,))
        for (number, blob), crop in zip(reversed(rows), crops, strict=True):
            assert number > before
            vector = np.frombuffer(blob, np.float16).astype(float)
            self.known[number] = [vector / np.linalg.norm(vector), crop.camera, crop.time, None, False]

    @precondition(lambda self: self.known)
    @rule(
        query=picks,
        count=st.integers(1, 12),
        camera=st.sampled_from([(), *((one,) for one in CAMERAS)]),
        hours=picks,
    )
    def search(self, query, count, camera, hours):
        one = self.pick(query)
        after = 1_700_000_000.0 + 3600 * (hours % max(self.added, 1)) if hours % 2 else None
        kept = [
            other
            for other, (_, place, time, _, hidden) in sorted(self.known.items())
            if other != one
            and not hidden
            and (not camera or place in camera)
            and (after is None or time >= after)
            and (one, other) not in self.refused
        ]
        alike = {other: (self.known[other][0] * self.known[one][0]).sum() for other in kept}
        wanted = sorted(kept, key=lambda other: (-round(alike[other], 12), other))
        filters = Filters(cameras=camera, after=after)
        found = self.gallery.search(sightings=[one], count=count, filters=filters, normalise=False, refine=False)
        assert found.total == len(kept)
        assert [each.sighting.id for each in found.candidates] == wanted[:count]
        for each in found.candidates:
            assert abs(each.similarity - alike[each.sighting.id]) < 1e-9
            assert each.sighting.person == self.known[each.sighting.id][3]

    @precondition(lambda self: len(self.known) > 2)
    @rule(query=picks, other=picks, verdict=st.sampled_from(["yes", "no", "skip"]))
    def judge(self, query, other, verdict):
        one, two = self.pick(query), self.pick(other)
        if one == two:
            return
        found = self.gallery.search(sightings=[one], count=1)
        self.gallery.judge(found.search, {two: verdict})
        pair = self.gallery.database.rows(
            "SELECT verdict FROM judgements WHERE (query, sighting) IN ((?, ?), (?, ?))", (one, two, two, one)
        )
        self.refused -= {(one, two), (two, one)}
        if ("no",) in pair:
            self.refused |= {(one, two), (two, one)}

    @precondition(lambda self: len(self.known) > 2)
    @rule(first=picks, second=picks)
    def name(self, first, second):
        chosen = sorted({self.pick(first), self.pick(second)})
        self.change(chosen, lambda: self.gallery.people.name(f"N{first}", sightings=chosen))

    @precondition(lambda self: len({one[3] for one in self.known.values()} - {None}) > 1)
    @rule(first=picks, second=picks)
    def merge(self, first, second):
        people = sorted({one[3] for one in self.known.values()} - {None})
        one, two = people[first % len(people)], people[second % len(people)]
        if one != two:
            self.change(
                [each for each, row in self.known.items() if row[3] in (one, two)],
                lambda: self.gallery.people.merge([one, two]),
            )

    def change(self, chosen, do):
        allowed = not any((one, two) in self.refused for one in chosen for two in chosen)
        try:
            person = do()
        except UserError:
            assert not allowed
            return
        assert allowed
        for one in chosen:
            self.known[one][3] = person

    @precondition(lambda self: self.known)
    @rule(number=picks)
    def take_out(self, number):
        self.gallery.people.take_out([self.pick(number)])
        self.known[self.pick(number)][3] = None

    @precondition(lambda self: self.known)
    @rule(number=picks)
    def hide_and_undo(self, number):
        one = self.pick(number)
        if not self.known[one][4]:
            self.gallery.erasure.hide([one])
            if number % 2:
                self.gallery.people.undo(self.gallery.people.events()[0].id)
            else:
                self.known[one][4] = True

    @precondition(lambda self: len(self.known) > 4)
    @rule(number=picks)
    def forget(self, number):
        one = self.pick(number)
        receipt = self.gallery.erasure.forget([one])
        assert receipt["content"]["sightings"] == [one]
        del self.known[one]

    @rule()
    def open_again(self):
        folder = self.gallery.folder
        self.gallery.close()
        self.gallery = Gallery(folder)

    @invariant()
    def counts(self):
        assert len(self.gallery) == len(self.known)


def run(template, examples, steps):
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    options = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, suppress_health_check=checks
    )
    run_state_machine_as_test(type("OnCopies", (Operations,), {"template": template}), settings=options)


def test_random_operations_equal_a_dictionary(empty_gallery):
    run(empty_gallery, 4, 25)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_10000_random_operations_equal_a_dictionary(empty_gallery):
    run(empty_gallery, 100, 100)
