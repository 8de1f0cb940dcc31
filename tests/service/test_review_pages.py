"""Review, quality and retention: pairs to compare, what similarities mean, what must go."""

import re

import pytest

from rewho.core.runtime import Interrupted
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Actor
from rewho.service.state import State
from rewho.service.worker import RETENTION, Worker, ask_job
from rewho.settings.serve import ServiceLimits
from small_gallery import Clock, fill, random_vectors

ANNA = Actor("anna", "a test")


@pytest.fixture
def state(gallery):
    return State(gallery, ServiceLimits(), users=True, secure=False, sources=None)


def run_next(state):
    """Run the job that waits; return it as it ended."""
    job = state.gallery.jobs.take()
    Worker(state).do(job)
    return state.gallery.jobs.read(job.id)


def test_a_round_of_pairs_is_answered_and_never_asked_again(clients, gallery):
    client = clients.operator
    page, asked = client.get("/review").text, []
    for answer in ("same", "different", "skip"):
        one, other = (int(re.search(rf'name="{side}" value="(\d+)"', page)[1]) for side in ("one", "other"))
        rest = re.search(r'name="rest" value="([^"]*)"', page)[1]
        asked.append((one, other))
        sent = client.post("/review", data={"one": one, "other": other, "rest": rest, "answer": answer})
        page = client.get(sent.headers["location"]).text
        assert "Your answer is kept" in page
        assert f"pairs={one}-{other}," in page, "one can go back to the pair before"
    assert asked[0] in gallery.links().must
    assert asked[1] in gallery.links().cannot
    again = {(pair["one"]["id"], pair["other"]["id"]) for pair in client.get("/api/v1/reviews?count=100").json()}
    assert len(again) > 3
    assert not again & set(asked)
    assert gallery.audit(action="judge")[0].who == "operator"


def test_what_was_measured_is_said_at_each_candidate(clients, gallery, state):
    assert "Not calibrated yet" in clients.viewer.get("/quality").text
    for number in range(22):
        gallery.people.name(f"somebody {number}", sightings=[3 * number + 1, 3 * number + 2, 3 * number + 3])
    assert clients.operator.post("/quality/calibrate", data={"basis": "labels"}).status_code == 303
    job = wait_for(clients, gallery)
    assert job.state == "done", job.message
    assert "calibrated with labels of 22 people" in job.message
    for path in ("/library", "/quality"):
        assert "calibrated with labels of 22 people" in clients.operator.get(path).text, "what work did is shown"
    page = clients.viewer.get("/quality").text
    assert "Thresholds" in page
    assert "data:image/svg+xml;base64," in page
    found = clients.admin.post("/api/v1/searches", json={"sightings": [1]}).json()
    assert "calibrated with labels" in found["calibration"]
    words = {(row["strangers"], row["alike"]) for row in found["candidates"]}
    assert words == {(None, "too few people here to say how many strangers look as alike")}, (
        "of two strangers one as alike would make the right one look wrong"
    )
    assert {type(row["score"]) for row in found["candidates"]} == {float}
    shown = clients.operator.get(f"/results/{found['search']}").text
    assert "calibrated with labels of 22 people" in shown
    assert "1 of 2 strangers" not in shown
    few = clients.doorman.post("/api/v1/searches", json={"sightings": [1]}).json()
    assert {row["score"] for row in few["candidates"]} == {None}, "a score tells something of all cameras"


def test_people_are_proposed_from_their_page(clients, gallery):
    assert clients.operator.post("/people/group").headers["location"] == "/people?done=job"
    assert wait_for(clients, gallery).state == "done"
    page = clients.operator.get("/people?done=job").text
    assert "people proposed or changed" in page
    assert page.count('class="crop"') == len(gallery.people.list()) > 0
    assert "group into people" in clients.operator.get("/library").text


def wait_for(clients, gallery):
    """Return the newest job once it has ended; the service's worker runs it."""
    import time

    for _ in range(600):
        job = gallery.jobs.list(1)[0]
        if job.state not in ("waiting", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {job.id} is {job.state}")


def test_groups_are_proposed_by_a_job_that_a_kill_and_a_stop_leave_whole(state):
    gallery = state.gallery
    ask_job(state, "group", {}, ANNA)
    job = gallery.jobs.take()
    gallery.jobs.stop(job.id, by=ANNA)
    Worker(state).do(job)
    stopped = gallery.jobs.read(job.id)
    assert (stopped.state, stopped.message) == ("stopped", "nothing was changed")
    assert gallery.people.list() == []
    ask_job(state, "group", {}, ANNA)
    assert gallery.jobs.take() is not None  # and then the service is killed
    assert gallery.jobs.resume() == 1
    done = run_next(state)
    assert (done.state, done.done, done.total) == ("done", 3, 3)
    assert gallery.audit(action="group")[0].who == "anna"


def test_a_calibration_can_be_ended_between_its_parts(gallery):
    seen = []

    def end(done, total):
        seen.append((done, total))
        if done == 2:
            raise Interrupted("enough")

    gallery.people.name("one", sightings=[1, 2])
    gallery.people.name("two", sightings=[3, 4])
    with pytest.raises(Interrupted):
        gallery.calibrate("labels", step=end)
    assert seen == [(0, 4), (1, 4), (2, 4)]
    assert gallery.calibration() is None


def test_others_search_while_a_calibration_runs(gallery):
    """A calibration holds no lock: what is added meanwhile is found at once, and does not disturb it."""
    gallery.people.name("one", sightings=[1, 2])
    gallery.people.name("two", sightings=[3, 4])
    import threading

    def add(done, total):
        if done == 1:
            worker = threading.Thread(target=lambda: fill(gallery, random_vectors(3, seed=9), name="late"))
            worker.start()
            worker.join()
            other = threading.Thread(target=lambda: found.append(gallery.search(sightings=[1]).total))
            other.start()
            other.join(10)

    found = []
    made = gallery.calibrate("labels", step=add)
    assert found == [65], "the search was not kept waiting"
    assert made.content["size"] == 66


def test_a_source_goes_when_its_date_has_passed_also_after_a_kill(filled, tmp_path):
    import shutil

    clock = Clock()
    with Gallery(shutil.copytree(filled, tmp_path / "dated"), "cpu", clock=clock) as gallery:
        state = State(gallery, ServiceLimits(), users=True, secure=False, sources=None)
        worker = Worker(state)
        gallery.erasure.keep_until(1, clock.now + 100, by=ANNA)
        assert not worker._expire_in_time()
        clock.now += 101
        assert gallery.search(images=None, sightings=[1]).total == 0, "not searchable from that moment"
        assert worker._expire_in_time()
        assert gallery.jobs.take().who == RETENTION.who  # and then the service is killed
        gallery.jobs.resume()
        done = run_next(state)
        assert done.state == "done"
        assert "66 sightings erased; receipts 1" in done.message
        assert len(gallery) == 0
        assert not gallery.erasure.is_due()


def test_an_administrator_sets_until_when_a_source_is_kept(clients, gallery):
    assert 'aria-label="Source 1 is kept until"' in clients.admin.get("/admin").text
    assert clients.admin.post("/admin/sources/1/retention", data={"expires": "2099-05-01"}).status_code == 303
    assert "2099-05-01T00:00:00" in clients.admin.get("/admin").text
    assert clients.admin.put("/api/v1/sources/1/retention", json={"expires": ""}).status_code == 204
    assert clients.admin.get("/api/v1/sources").json()[0]["expires"] is None
    assert clients.operator.post("/admin/sources/1/retention", data={"expires": "2001-01-01"}).status_code == 403
    assert [one.action for one in gallery.audit(action="retention")] == ["retention"] * 2
