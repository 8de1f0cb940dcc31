"""Every route that shows, finds, changes, exports or erases something writes one record or more into the audit."""

import re

import pytest
from fastapi.testclient import TestClient
from test_access import table

from rewho.service.app import build_app
from rewho.service.worker import Worker
from small_service import BASE, PASSWORD, picture

SILENT = {
    ("GET", "/account"), ("GET", "/admin"), ("GET", "/admin/audit"), ("GET", "/api/v1/audit"),
    ("GET", "/api/v1/calibration"), ("GET", "/api/v1/cameras"), ("GET", "/api/v1/cases"), ("GET", "/api/v1/events"),
    ("GET", "/api/v1/jobs"), ("GET", "/api/v1/jobs/{job}"), ("GET", "/api/v1/me"), ("GET", "/api/v1/sources"),
    ("GET", "/api/v1/users"), ("GET", "/cases"), ("GET", "/health/live"), ("GET", "/health/ready"),
    ("GET", "/library"), ("GET", "/login"), ("GET", "/metrics"), ("GET", "/quality"), ("GET", "/static/{name}"),
    ("POST", "/purpose"),
}  # fmt: skip
"""Routes that name no sighting and no person: lists of cameras, cases, sources, users, jobs; forms; the service."""
PLACES = {"sighting": 1, "crop": 1, "search": 1, "case": 1, "event": 1, "number": 1, "source": 1,
          "job": 1, "person": 0, "name": "style.css", "path": "ev/index.html"}  # fmt: skip
IMAGE = {"files": {"images": ("a.jpg", picture(), "image/jpeg")}}
ASKED = {  # a request that succeeds
    ("POST", "/api/v1/searches"): {"json": {"sightings": [1]}},
    ("POST", "/api/v1/searches/images"): IMAGE,
    ("PUT", "/api/v1/searches/{search}/judgements"): {"json": {"verdicts": {"2": "no"}}},
    ("POST", "/api/v1/people"): {"json": {"name": "red", "sightings": [4]}},
    ("POST", "/api/v1/people/split"): {"json": {"sightings": [13]}},
    ("POST", "/api/v1/cases"): {"json": {"name": "x", "purpose": "y"}},
    ("PUT", "/api/v1/cases/{case}/sightings"): {"json": {"sightings": [5]}},
    ("POST", "/api/v1/sightings/hide"): {"json": {"sightings": [20]}},
    ("POST", "/api/v1/sightings/forget"): {"json": {"sightings": [21]}},
    ("POST", "/api/v1/users"): {"json": {"name": "new", "password": PASSWORD, "role": "viewer"}},
    ("PATCH", "/api/v1/users/{number}"): {"json": {"disabled": True}},
    ("POST", "/api/v1/me/tokens"): {"json": {"name": "x"}},
    ("POST", "/api/v1/jobs"): {"json": {"kind": "group"}},
    ("PUT", "/api/v1/reviews"): {"json": {"one": 30, "other": 31, "answer": "different"}},
    ("PUT", "/api/v1/sources/{source}/retention"): {"json": {"expires": "2099-01-01"}},
    ("POST", "/search"): IMAGE,
    ("POST", "/account/password"): {"data": {"old": PASSWORD, "new": f"{PASSWORD} new"}},
    ("POST", "/account/tokens"): {"data": {"name": "x"}},
    ("POST", "/admin/sources/{source}/retention"): {"data": {"expires": "2099-01-01"}},
    ("POST", "/admin/users"): {"data": {"name": "other", "password": PASSWORD, "role": "viewer", "all": "yes"}},
    ("POST", "/admin/users/{number}"): {"data": {"lock": "lock"}},
    ("POST", "/cases"): {"data": {"name": "z", "purpose": "y"}},
    ("POST", "/cases/collect"): {"data": {"case": "1", "sightings": "6"}},
    ("POST", "/cases/{case}/drop"): {"data": {"sightings": "5"}},
    ("POST", "/library/add"): {"data": {"path": "yard"}},
    ("POST", "/login"): {"data": {"name": "admin", "password": PASSWORD}},
    ("POST", "/people/split"): {"data": {"sightings": "16", "to": "nobody"}},
    ("POST", "/results/{search}/judge"): {"data": {"sighting": "3", "verdict": "yes"}},
    ("POST", "/review"): {"data": {"one": "32", "other": "33", "answer": "skip", "rest": ""}},
    ("POST", "/sightings/{sighting}/forget"): {"data": {"sure": "22"}},
}
OTHER = {("POST", "/sightings/{sighting}/forget"): {"sighting": 22}, ("POST", "/people/undo/{event}"): {"event": 5},
         ("POST", "/api/v1/events/{event}/undo"): {"event": 4}}  # fmt: skip
LAST = ("/logout", "/login", "/account/password")  # they end the session that the others use
ABSENT = {("GET", "/api/v1/calibration"), ("GET", "/api/v1/crops/{crop}/moment")}  # here; their own tests have them


@pytest.fixture
def admin(gallery, tmp_path, monkeypatch):
    """An administrator of a gallery with people, a case, a search, a job and a calibration."""
    (tmp_path / "sources" / "yard").mkdir(parents=True)
    run = tmp_path / "runs" / "ev"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text('{"stage": "evaluate", "settings": {}, "inputs": {}}')
    (run / "index.html").write_text("<p>run</p>")
    for name, some in (("a", [10, 13]), ("b", [11]), ("c", [12, 16]), ("d", [14]), ("e", [17]), ("f", [18])):
        gallery.people.name(name, sightings=some)
    gallery.cases.collect(gallery.cases.open("case", "a test"), [1])
    gallery.search(sightings=[1])
    gallery.judge(1, {2: "skip"})
    monkeypatch.setattr(Worker, "start", lambda self: None)  # jobs write records of their own, at any time
    app = build_app(gallery, users=True, sources=tmp_path / "sources", runs=tmp_path / "runs", write=str)
    with TestClient(app, BASE, follow_redirects=False) as client:
        client.post("/login", data={"name": "admin", "password": PASSWORD})
        client.headers["X-CSRF-Token"] = token_of(client)
        yield client


def token_of(client) -> str:
    """Return the CSRF token that a page carries."""
    return client.get("/account").text.partition('data-csrf="')[2].partition('"')[0]


@pytest.mark.slow
def test_what_is_seen_or_done_is_in_the_audit(admin, gallery):
    failed, unrecorded, noisy = {}, [], []
    people = [one.id for one in gallery.people.list()]
    known = {**PLACES, "person": people[0]}
    asked = {**ASKED, ("POST", "/api/v1/people/merge"): {"json": {"people": people[:2]}}}
    asked["POST", "/people/merge"] = {"data": {"people": f"{people[2]} {people[5]}"}}
    asked["POST", "/people/name"] = {"data": {"person": people[2], "name": "blue"}}
    routes = sorted(table(), key=lambda one: (one[1] in LAST, LAST.index(one[1]) if one[1] in LAST else 0, one[1]))
    for method, path in routes:
        if path == "/account/tokens/{number}/end":
            mine = next(one for one in gallery.accounts.list() if one.name == "admin")
            known["number"] = gallery.accounts.tokens(mine.id)[0][0]
        elif "{number}" in path:
            known["number"] = 1
        places = {**known, **OTHER.get((method, path), {})}
        before = gallery.audit(limit=1)[0].id
        extra = {"params": {"name": "ev"}} if path == "/quality/run" else {}
        place = re.sub(r"\{(\w+)\}", lambda found, places=places: str(places[found[1]]), path)
        answer = admin.request(method, place, **asked.get((method, path), {}), **extra)
        if path == "/login" and method == "POST":
            admin.headers["X-CSRF-Token"] = token_of(admin)
        if answer.status_code >= 400 and (method, path) not in ABSENT:
            failed[method, path] = answer.status_code, answer.text[-300:]
        own = [one for one in gallery.audit(limit=50) if one.id > before and one.who == "admin"]
        if (method, path) not in ABSENT and bool(own) == ((method, path) in SILENT):
            (noisy if own else unrecorded).append((method, path))
    assert failed == {}
    assert unrecorded == []
    assert noisy == [], "these are not silent any more"
    assert gallery.verify() == []
