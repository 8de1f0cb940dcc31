"""Who may do what: the table in the guide is what this reads, and the OpenAPI document says which routes there are."""

import re
from pathlib import Path

import pytest

from rewho.gallery.records import Actor
from small_service import BASE, PASSWORD

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "service.md"
USERS = ("nobody", "viewer", "operator", "admin")
BODIES = {  # what makes a request well-formed enough to get past the check of types; none of it exists
    "/api/v1/searches": {"sightings": [999]},
    "/api/v1/searches/{search}/judgements": {"verdicts": {"999": "no"}},
    "/api/v1/people": {"name": "x", "person": 999},
    "/api/v1/people/merge": {"people": [998, 999]},
    "/api/v1/cases": {"name": "x", "purpose": "y"},
    "/api/v1/users": {"name": "new", "password": "short", "role": "viewer"},
    "/api/v1/users/{number}": {"role": "viewer"},
    "/api/v1/me/tokens": {"name": "x"},
    "/api/v1/jobs": {"kind": "add", "path": "nothing"},
    "/api/v1/reviews": {"one": 998, "other": 999, "answer": "skip"},
    "/api/v1/sources/{source}/retention": {"expires": ""},
}


def table() -> dict[tuple[str, str], str]:
    """Return the least role of each route in the guide's table."""
    rows = re.findall(r"^\| (\w+) \| `(\S+)` \| (nobody|viewer|operator|admin) \|", GUIDE.read_text("utf-8"), re.M)
    return {(method, path): role for method, path, role in rows}


def routes(clients) -> set[tuple[str, str]]:
    """Return all routes: those of the OpenAPI document, and the pages."""
    document = clients.nobody.get("/api/v1/openapi.json").json()
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}

    from rewho.service.app import PAGES

    own = {(m, r.path_format) for one in PAGES for r in one.router.routes for m in r.methods - {"HEAD"}}
    return found | own


def test_the_table_names_every_route_and_no_other(clients):
    assert routes(clients) ^ set(table()) == set()
    assert len(table()) > 50


@pytest.mark.parametrize("user", USERS)
def test_each_route_lets_in_whom_the_table_names(user, clients):
    wrong = {}
    for (method, path), least in sorted(table().items()):
        if path in ("/logout", "/login", "/account/password"):
            continue  # these end sessions or count failures; they have tests of their own
        client = getattr(clients, user)
        place = re.sub(r"\{\w+\}", "999", path)
        body = {"json": BODIES.get(path, {"sightings": [999]})} if path.startswith("/api") and method != "GET" else {}
        answer = client.request(method, place, **body)
        refused = answer.status_code in (401, 403) or answer.headers.get("location", "").startswith("/login")
        if refused != (USERS.index(user) < USERS.index(least)) or answer.status_code >= 500:
            wrong[method, path] = answer.status_code
    assert wrong == {}


def test_other_cameras_are_not_there(clients, gallery):
    doorman, door = clients.doorman, {one for one in range(1, 67) if one % 3 == 1}
    cameras = {one["name"]: one["sightings"] for one in doorman.get("/api/v1/cameras").json()}
    assert cameras == {"door": 22}
    listed = doorman.get("/api/v1/sightings?count=200").json()["items"]
    assert {one["id"] for one in listed} == door
    found = doorman.post("/api/v1/searches", json={"sightings": [1], "count": 200}).json()
    assert found["total"] == 21
    assert {row["sighting"]["id"] for row in found["candidates"]} == door - {1}
    for path in ("sightings/2", "sightings/2/crops", "crops/2/thumbnail"):
        assert doorman.get(f"/api/v1/{path}").status_code == 404, path
    for body in (
        {"sightings": [2]},
        {"crop": 2},
        {"sightings": [1, 2]},
        {"sightings": [1], "filters": {"cameras": ["yard"]}},
    ):
        assert doorman.post("/api/v1/searches", json=body).status_code in (400, 404), body
    page = doorman.get("/library").text
    assert "yard" not in page
    assert "random" not in page, "sources belong to all cameras"
    pairs = doorman.get("/api/v1/reviews?count=100").json()
    assert {pair[side]["id"] for pair in pairs for side in ("one", "other")} <= door
    assert doorman.put("/api/v1/reviews", json={"one": 1, "other": 2, "answer": "same"}).status_code == 404
    for path in ("/api/v1/events", "/api/v1/jobs", "/api/v1/calibration", "/api/v1/sources", "/quality"):
        assert doorman.get(path).status_code == 403


def test_what_others_judged_elsewhere_moves_no_score(clients, gallery):
    ask = {"sightings": [1], "count": 200}
    before = clients.doorman.post("/api/v1/searches", json=ask).json()["candidates"]
    search = clients.admin.post("/api/v1/searches", json=ask).json()["search"]
    judged = clients.admin.put(f"/api/v1/searches/{search}/judgements", json={"verdicts": {"2": "yes", "3": "no"}})
    assert judged.status_code == 204
    after = clients.doorman.post("/api/v1/searches", json=ask).json()["candidates"]
    assert [row["similarity"] for row in after] == [row["similarity"] for row in before]
    mine = clients.admin.post("/api/v1/searches", json=ask).json()["candidates"]
    assert 3 not in {row["sighting"]["id"] for row in mine}


def test_sessions_have_strict_cookies_and_need_a_csrf_token(clients):
    answer = clients.nobody.post("/login", data={"name": "operator", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    client = clients.operator
    token = client.headers.pop("X-CSRF-Token")
    assert client.post("/sightings/1/hide", data={"to": "hide"}).status_code == 403
    assert client.post("/sightings/1/hide", data={"to": "hide", "csrf": "wrong"}).status_code == 403
    evil = {"Origin": "https://evil.example"}
    assert client.post("/sightings/1/hide", data={"csrf": token}, headers=evil).status_code == 403
    assert client.post("/sightings/1/hide", data={"to": "hide", "csrf": token}).status_code == 303
    assert client.post("/logout", data={"csrf": token}).status_code == 303
    assert client.get("/api/v1/me").status_code == 401


def test_a_token_asks_in_its_users_name_until_it_ends(clients, gallery):
    secret = clients.viewer.post("/api/v1/me/tokens", json={"name": "report"}).json()["token"]
    head = {"Authorization": f"Bearer {secret}"}
    assert clients.nobody.get("/api/v1/me", headers=head).json() == {
        "name": "viewer",
        "role": "viewer",
        "cameras": None,
    }
    assert clients.nobody.post("/api/v1/searches", json={"sightings": [1]}, headers=head).status_code == 200
    number = gallery.accounts.tokens(gallery.accounts.token(secret).id)[0][0]
    clients.viewer.post(f"/account/tokens/{number}/end")
    assert clients.nobody.get("/api/v1/me", headers=head).status_code == 401
    assert secret not in str(gallery.database.rows("SELECT * FROM tokens"))


def test_guessing_passwords_is_slowed(clients):
    for _ in range(5):
        assert clients.nobody.post("/login", data={"name": "admin", "password": "wrong"}).status_code == 401
    answer = clients.nobody.post("/login", data={"name": "Admin", "password": PASSWORD})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


def test_the_last_administrator_stays_and_first_password_is_made_once(clients, gallery):
    admin = next(one for one in gallery.accounts.list() if one.name == "admin")
    assert clients.admin.patch(f"/api/v1/users/{admin.id}", json={"role": "viewer"}).status_code == 400
    assert gallery.accounts.first_admin() is None
    assert gallery.accounts.create("second", PASSWORD, "admin", by=Actor("test")).role == "admin"


def test_a_foreign_host_name_is_refused(clients):
    assert clients.nobody.get("/login", headers={"Host": "evil.example"}).status_code == 400
    assert clients.nobody.get(f"{BASE}/login").status_code == 200


def test_a_user_of_some_cameras_is_not_made_one_of_all(clients, gallery):
    form = {"name": "clumsy", "password": PASSWORD, "role": "viewer", "cameras": ["door"]}
    answer = clients.admin.post("/admin/users", data={**form, "all": "yes"})
    assert answer.status_code == 400 and "expected every camera or some, got both" in answer.text
    assert clients.admin.post("/admin/users", data=form).status_code == 303
    assert next(one.cameras for one in gallery.accounts.list() if one.name == "clumsy") is not None
