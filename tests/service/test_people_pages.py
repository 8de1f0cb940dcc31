"""Pages of people, cases and erasure: name, merge, undo, collect, evidence, forget."""

import io
import json
import re
import zipfile


def test_name_merge_undo(clients, gallery):
    client = clients.operator
    for name, sighting in (("red jacket", 1), ("blue hat", 2)):
        made = client.post("/people/name", data={"name": name, "sightings": sighting})
        assert "The name is kept" in client.get(made.headers["location"]).text
    first, second = (one.id for one in gallery.people.list())
    merged = client.post("/people/merge", data={"people": f"{first} {second}"})
    page = client.get(merged.headers["location"]).text
    assert page.count('class="crop"') == 2
    assert re.search(r"\d+ (min|h) later", page)
    event = re.search(r'action="/people/undo/(\d+)"', client.get("/people").text)[1]
    assert client.post(f"/people/undo/{event}").status_code == 303
    assert [one.sightings for one in gallery.people.list()] == [1, 1]


def test_case_and_evidence(clients, gallery):
    client = clients.operator
    place = (
        client.post("/cases", data={"name": "report 17", "purpose": "lost child"}).headers["location"].partition("?")[0]
    )
    case = place.rpartition("/")[2]
    client.post("/cases/collect", data={"case": case, "sightings": 1, "note": "by the door"})
    assert "by the door" in client.get(place).text
    got = client.post(f"{place}/evidence")
    assert got.headers["content-disposition"] == f'attachment; filename="case-{case}.zip"'
    names = zipfile.ZipFile(io.BytesIO(got.content)).namelist()
    assert any(name.endswith(".jpg") for name in names)
    assert gallery.audit(action="export")[0].who == "operator"


def test_forget_needs_the_number_and_gives_a_receipt(clients, gallery):
    client = clients.admin
    assert client.post("/sightings/5/forget", data={"sure": "yes"}).status_code == 400
    assert gallery.sightings([5])
    page = client.post("/sightings/5/forget", data={"sure": "5"})
    assert page.status_code == 200
    assert "It is erased" in page.text
    assert client.get("/sightings/5").status_code == 404
    assert client.get("/api/v1/crops/5/thumbnail").status_code == 404


def test_audit_names_each_search_and_who_asked(clients, gallery):
    answer = clients.operator.post("/api/v1/searches", json={"sightings": [1]})
    found = {row["sighting"]["id"] for row in answer.json()["candidates"]}
    page = clients.admin.get("/admin/audit", params={"action": "search", "who": "operator"})
    assert "operator" in page.text
    record = clients.admin.get("/api/v1/audit", params={"action": "search"}).json()["items"][0]
    assert set(record["ids"]["sightings"]) == found
    assert record["ids"]["query"] == [1]
    assert not re.search(r"vector|embedding", json.dumps(record))
