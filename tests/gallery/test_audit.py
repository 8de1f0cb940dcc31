"""The audit: complete, without vectors or names, and every edit of it is found."""

import sqlite3

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Actor
from rewho.settings import GallerySettings
from rewho.stages import gallery as stage
from small_gallery import Clock, fill, random_vectors


@pytest.fixture
def used(gallery_folder):
    """A gallery in which everything was done once."""
    with Gallery(gallery_folder, clock=Clock()) as gallery:
        officer = Actor("officer", "request 7")
        fill(gallery, random_vectors(30))
        for query in range(1, 9):
            found = gallery.search(sightings=[query], by=officer)
            gallery.judge(found.search, {found.candidates[0].sighting.id: "no"}, by=officer)
        person = gallery.people.name("Ann Unmistakable", sightings=[1, 20], by=officer)
        gallery.people.timeline(person, by=officer)
        gallery.sightings([3], by=officer)
        gallery.crops(3, by=officer)
        gallery.erasure.hide([4], by=officer)
        gallery.erasure.forget([5], by=officer)
        yield gallery


def test_everything_is_recorded_with_who_and_why(used):
    records = used.audit()
    assert {one.action for one in records} >= {
        *("create", "source", "add", "search", "judge", "name", "timeline", "view", "hide", "forget", "receipt")
    }
    officers = [one for one in records if one.action not in ("create", "source", "add")]
    assert {(one.who, one.purpose) for one in officers} == {("officer", "request 7")}
    assert [one.action for one in used.audit(person=1, action="timeline")] == ["timeline"]
    assert all(3 in (*one.ids["sightings"], *one.ids.get("query", ())) for one in used.audit(sightings=[3]))
    assert b"Unmistakable" not in repr(used.database.rows("SELECT * FROM audit")).encode()


def test_a_search_with_somebody_is_about_them(gallery_folder):
    with Gallery(gallery_folder) as gallery:
        fill(gallery, random_vectors(3))
        gallery.search(sightings=[2])
        assert [one.ids["query"] for one in gallery.audit(action="search", sightings=[2])] == [[2]]


def test_what_was_never_recorded_is_refused(used):
    with pytest.raises(
        UserError, match=r"action: expected one of .*adapt, .*withdraw, got 'exports'.\n.*mean 'export'"
    ):
        used.audit(action="exports")
    with pytest.raises(UserError, match=r"person 99: .* no such person"):
        used.audit(person=99)
    with pytest.raises(UserError, match="expected one of"):
        stage.run(GallerySettings("audit", used.folder, by_action="nosuch"))
    assert stage.run(GallerySettings("audit", used.folder, by_user="nosuch")).startswith("no record fits")


def test_it_refuses_changes_and_removals(used):
    for statement in ("UPDATE audit SET who = 'x' WHERE id = 2", "DELETE FROM audit WHERE id = 2"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            used.database.link.execute(statement)


def test_100_of_100_edits_are_found(used):
    assert used.verify() == []
    head = used.audit_head()
    link = used.database.link
    link.execute("DROP TRIGGER audit_unchanged")
    link.execute("DROP TRIGGER audit_kept")
    last = int(head.split()[0])
    rng = np.random.default_rng(1)
    columns = {"time": 5.0, "who": "x", "purpose": "x", "action": "x", "asked": "{}x", "ids": "{}x", "hash": b"x" * 32}
    found = 0
    for _ in range(100):
        link.execute("BEGIN")
        number, kind = int(rng.integers(1, last + 1)), int(rng.integers(9))
        if kind == 7:
            link.execute("DELETE FROM audit WHERE id = ?", (number,))
        elif kind == 8:
            link.execute("DELETE FROM audit WHERE id >= ?", (number,))
            if number > 1:  # an editor who also knows about the noted head
                hashed = link.execute("SELECT hash FROM audit WHERE id = ?", (number - 1,)).fetchone()[0]
                value = f"{number - 1} {hashed.hex()}"
                link.execute("UPDATE about SET value = ? WHERE name = 'audit head'", (value,))
        else:
            name = list(columns)[kind]
            link.execute(f"UPDATE audit SET {name} = ? WHERE id = ?", (columns[name], number))
        found += any("audit" in wrong for wrong in used.verify(head))
        link.execute("ROLLBACK")
    assert found == 100
    assert used.verify(head) == []


def test_a_clock_that_is_set_back_is_said_and_never_shows(gallery_folder, capsys):
    clock = Clock()
    with Gallery(gallery_folder, clock=clock) as gallery:
        fill(gallery, random_vectors(5))
        clock.now -= 10_000
        gallery.search(sightings=[1])
        assert "the clock is behind" in capsys.readouterr().err
        times = [one.time for one in gallery.audit()]
        assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("jump", [-10_000, -(10**9)])
def test_a_source_whose_time_has_passed_stays_hidden_where_the_clock_is_set_back(gallery_folder, jump):
    clock = Clock()
    with Gallery(gallery_folder, clock=clock) as gallery:
        fill(gallery, random_vectors(5))
        gallery.erasure.keep_until(1, clock.now + 100)
        clock.now += 101
        assert gallery.search(sightings=[1]).total == 0
        clock.now += jump
        assert gallery.search(sightings=[1]).total == 0
        assert gallery.erasure.expire() == [] and len(gallery) == 5, "nothing is erased by a clock that was wrong"
        clock.now -= jump
        assert len(gallery.erasure.expire()) == 1 and len(gallery) == 0


def test_a_clock_of_the_future_for_a_moment_erases_nothing_later_and_keeps_no_session_open(gallery_folder):
    clock = Clock()
    with Gallery(gallery_folder, clock=clock) as gallery:
        fill(gallery, random_vectors(5))
        gallery.erasure.keep_until(1, clock.now + 10**6)
        clock.now += 10**9
        gallery.search(sightings=[1])
        clock.now -= 10**9
        assert gallery.erasure.expire() == [] and len(gallery) == 5
        user = gallery.accounts.create("anna", "a long password", "admin", by=Actor("anna")).id
        secret, _ = gallery.accounts.log_in("anna", "a long password")
        assert gallery.accounts.session(secret).account.id == user
        clock.now += 3 * 3600
        assert gallery.accounts.session(secret) is None, "idle for three hours"
        secret, _ = gallery.accounts.log_in("anna", "a long password")
        clock.now -= 3600
        assert gallery.accounts.session(secret) is None, "the clock was set back: log in again"
