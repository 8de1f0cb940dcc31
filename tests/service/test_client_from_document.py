"""The OpenAPI document is enough: a client generated from it does the work of a day, and no request of it fails."""

import io
import time
import zipfile

import pytest
from fastapi.testclient import TestClient

from document_client import DocumentClient
from small_service import BASE, picture


@pytest.fixture
def client(clients):
    """A generated client of a program with an administrator's token."""
    admin = clients.admin
    token = admin.post("/api/v1/me/tokens", json={"name": "program"}).json()["token"]
    plain = TestClient(clients._app, BASE, raise_server_exceptions=False)
    plain.headers["Authorization"] = f"Bearer {token}"
    return DocumentClient(plain, plain.get("/api/v1/openapi.json").json())


def test_a_day_of_work(client):
    assert client.me()["role"] == "admin"
    found = client.search_images(files={"images": ("a.jpg", picture(), "image/jpeg")}, count=5)
    first = found["candidates"][0]["sighting"]["id"]
    client.judge(search=found["search"], verdicts={str(first): "no"})
    found = client.search(sightings=[1], count=5, filters={"cameras": ["door", "yard"]})
    assert {row["sighting"]["camera"] for row in found["candidates"]} <= {"door", "yard"}
    following = client.search(search=found["search"], count=5, next=found["next"])
    assert not {row["sighting"]["id"] for row in following["candidates"]} & {
        row["sighting"]["id"] for row in found["candidates"]
    }
    page = client.list_sightings(count=40)
    assert len(client.list_sightings(count=40, before=page["next"])["items"]) == 26
    assert client.read_sighting(sighting=1)["camera"] == "door"
    crop = client.list_crops(sighting=1)[0]["id"]
    assert client.thumbnail(crop=crop)[:2] == b"\xff\xd8"
    one, two = (client.name_person(name=name, sightings=[at])["person"] for name, at in (("red", 1), ("blue", 2)))
    assert client.merge_people(people=[one, two])["person"] == one
    assert len(client.timeline(person=one)) == 2
    client.undo(event=client.list_events()[0]["id"])
    assert len(client.list_people()) == 2
    pair = client.list_pairs(count=1)[0]
    client.answer_pair(one=pair["one"]["id"], other=pair["other"]["id"], answer="different")
    case = client.open_case(name="report", purpose="lost child")["id"]
    client.collect(case=case, sightings=[5], note="by the gate")
    assert "evidence.csv" in zipfile.ZipFile(io.BytesIO(client.evidence(case=case))).namelist()
    client.drop(case=case, sighting=5)
    client.hide(sightings=[7])
    assert client.forget(sightings=[9])["receipt"]["content"]["found"] == 0
    job = client.start_job(kind="group", headers={"Idempotency-Key": "one"})["id"]
    assert client.start_job(kind="group", headers={"Idempotency-Key": "one"})["id"] == job
    for _ in range(600):
        if (ended := client.read_job(job=job)["state"]) not in ("waiting", "running"):
            break
        time.sleep(0.05)
    assert ended == "done"
    client.keep_until(source=client.list_sources()[0]["id"], expires="2099-01-01")
    user = client.make_user(name="new", password="twelve letters", role="viewer")["id"]
    assert client.change_user(number=user, disabled=True)["disabled"]
    assert client.read_audit(action="search")["items"]


def fuzz(client, seeds):
    """Send random requests; return how many were answered by status."""
    counts = {}
    for seed in seeds:
        operation, known, body = client.guess_request(seed)
        if operation.name in ("make_user", "change_user", "forget"):
            continue  # they end the session, or all that is there
        response = client.send(operation, known, body if isinstance(body, dict) or not operation.form else {})
        assert response.status_code < 500, f"seed {seed}: {operation.name} {known} {body}: {response.text[:300]}"
        if response.status_code not in (404, 405, 307):  # a path that odd values made another one
            client.answer(operation, response)
        counts[response.status_code] = counts.get(response.status_code, 0) + 1
    return counts


def test_no_random_request_fails(client):
    counts = fuzz(client, range(120))
    assert sum(counts.get(status, 0) for status in (200, 201, 202, 204)) > 20
    assert sum(counts.get(status, 0) for status in (400, 404, 422)) > 20


def enlarged(client, schema, number):
    """Return a value for a schema that holds a number wherever the document allows an integer; None without one."""
    if "$ref" in schema:
        return enlarged(client, client.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], number)
    if schema.get("type") == "integer":
        return number
    if "anyOf" in schema:
        return next((one for one in (enlarged(client, part, number) for part in schema["anyOf"]) if one), None)
    if schema.get("type") == "array":
        inner = enlarged(client, schema.get("items", {}), number)
        return None if inner is None else [inner, 1]
    if "propertyNames" in schema:
        return {str(number): "no"}
    made = {key: enlarged(client, one, number) for key, one in schema.get("properties", {}).items()}
    return {key: one for key, one in made.items() if one is not None} or None


@pytest.mark.parametrize("number", [2**53, 2**64])
def test_numbers_that_the_database_cannot_hold_are_refused(client, number):
    tried = 0
    for operation in client.operations.values():
        kinds = {key: enlarged(client, one["schema"], number) for key, one in operation.parameters.items()}
        body = enlarged(client, operation.body, number) if operation.body else None
        needed = {key: 1 for key, one in operation.parameters.items() if one.get("required")}
        asked = [({**needed, key: value}, {}) for key, value in kinds.items() if value]
        for known, content in [*asked, *([(needed, body)] if body else [])]:
            status = client.send(operation, known, content).status_code
            assert status in (400, 404, 422), f"{operation.name} {known} {content}: {status}"
            tried += 1
    assert tried > 30


def test_a_method_that_a_path_does_not_take_is_refused_with_those_it_takes(client):
    for path, methods in client.document["paths"].items():
        answer = client.client.request("OPTIONS", path)
        allowed = answer.headers.get("allow", "")
        if "{" not in path:
            assert (answer.status_code, allowed) == (405, ", ".join(sorted(one.upper() for one in methods))), path


@pytest.mark.slow
def test_no_random_request_fails_for_a_minute(client):
    until, seed, done = time.monotonic() + 60, 1000, 0
    while time.monotonic() < until:
        done += sum(fuzz(client, range(seed, seed + 50)).values())
        seed += 50
    assert done > 500
