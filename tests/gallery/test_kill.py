"""A gallery whose process is killed at any moment: nothing acknowledged is lost, nothing is invented.

A forked process works and reports each operation before it begins and after it was acknowledged. It is killed, the
gallery is opened again, and must be in the state before or after the operation that was under way.
"""

import json
import os
import signal
import time

import numpy as np
import pytest

from rewho.gallery.gallery import Gallery
from small_gallery import crops_of, fill, random_vectors


def operate(gallery, name, number):
    """Do one operation; each changes the gallery in a way that `read_state` shows."""
    if name == "add":
        fill(gallery, random_vectors(6, seed=number), crops_of(6, first=1000 * number))
        return
    ids = [row[0] for row in gallery.database.rows("SELECT id FROM sightings ORDER BY id")]
    if name == "judge":
        found = gallery.search(sightings=[ids[number % len(ids)]], count=3)
        gallery.judge(found.search, {one.sighting.id: "yes" for one in found.candidates})
    elif name == "merge":
        first = gallery.people.name("", sightings=[ids[number % len(ids)]])
        second = gallery.people.name("", sightings=[ids[(number + 1) % len(ids)]])
        gallery.people.merge([first, second])
    elif name == "forget":
        gallery.erasure.forget(ids[:2])
    elif name == "calibrate":
        for person in (0, 2):  # measuring takes pairs of one person and of two
            gallery.people.name(f"{number}-{person}", sightings=ids[person - 4 :][:2])
        gallery.calibrate("labels")


def read_state(gallery):
    """Return all that operations change, in a form that can be compared."""
    sightings = gallery.database.rows("SELECT id, person FROM sightings ORDER BY id")
    judged = gallery.database.rows("SELECT query, sighting, verdict FROM judgements ORDER BY query, sighting")
    suppressed = gallery.database.one("SELECT count(*) FROM suppressed")[0]
    return json.dumps([sightings, judged, suppressed, gallery.database.one("SELECT count(*) FROM calibrations")[0]])


def work(folder, pipe, seed):
    """Operate until killed; report the state after each step."""
    rng = np.random.default_rng(seed)
    with Gallery(folder) as gallery, os.fdopen(pipe, "w") as report:
        for step in range(1000):
            name = str(rng.choice(["add", "add", "judge", "merge", "forget", "calibrate"]))
            report.write(f"begin {name}\n")
            report.flush()
            operate(gallery, name, 1 + seed * 1000 + step)
            report.write(f"done {read_state(gallery)}\n")
            report.flush()


def run_and_kill(folder, seed, begun, delay):
    """Let a process begin some operations, kill it; return the last acknowledged state, what was under way, a count."""
    with Gallery(folder) as gallery:
        state = read_state(gallery)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            work(folder, writer, seed)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as report:
        lines = []
        while sum(line.startswith("begin") for line in lines) < begun:
            lines.append(report.readline())
            assert lines[-1], "the process ended by itself"
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        lines += [*report]
    lines = [line for line in lines if line.endswith("\n")]
    done = [line for line in lines if line.startswith("done ")]
    under_way = lines[-1].split()[1] if lines and lines[-1].startswith("begin") else ""
    return (done[-1][5:-1] if done else state), under_way, len(done)


def check_rounds(folder, rounds):
    with Gallery(folder) as gallery:
        fill(gallery, random_vectors(12))
    rng = np.random.default_rng(7)
    finished, killed_within = 0, set()
    for number in range(rounds):
        acknowledged, under_way, count = run_and_kill(
            folder, number, int(rng.integers(2, 5)), float(rng.uniform(0.0, 0.05))
        )
        finished += count
        with Gallery(folder) as gallery:
            found = read_state(gallery)
            assert gallery.verify() == []
            assert gallery.database.one("SELECT count(*) FROM receipts WHERE done = 0")[0] == 0
            before, after = json.loads(acknowledged), json.loads(found)
            unfinished = before[3] == after[3] if under_way == "calibrate" else before == after
            killed_within |= {under_way} if unfinished and under_way else set()
            if found != acknowledged:
                _check_step(before, after, under_way)
            if len(after[0]) < 8:
                fill(gallery, random_vectors(12, seed=5000 + number), crops_of(12, first=10_000_000 + 100 * number))
    return finished, killed_within


def _check_step(before, after, under_way):
    """The state is that after the operation under way, or after a whole part of it where it has several."""
    assert under_way == "calibrate" or after[3] == before[3]
    had, has = ({row[0]: row[1] for row in state[0]} for state in (before, after))
    if under_way == "add":
        assert len(has) == len(had) + 6
        assert had.items() <= has.items()
    elif under_way == "forget":
        assert set(had) - set(has) == set(sorted(had)[:2])
        assert after[2] == before[2] + 2
    elif under_way == "judge":
        assert has == had
        assert len(after[1]) >= len(before[1])
    elif under_way == "calibrate":
        assert set(has) == set(had)
        assert {one for one in has if has[one] != had[one]} <= set(sorted(has)[-4:])
        assert after[3] - before[3] in (0, 1)
    else:
        assert under_way == "merge"
        assert set(has) == set(had)
        assert 1 <= sum(has[one] != had[one] for one in has) <= 2


def test_nothing_acknowledged_is_lost_and_nothing_invented(gallery_folder):
    finished, _ = check_rounds(gallery_folder, 6)
    assert finished >= 6


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_200_kills(gallery_folder):
    finished, within = check_rounds(gallery_folder, 200)
    assert finished >= 200
    assert within >= {"add", "judge", "merge", "forget", "calibrate"}
