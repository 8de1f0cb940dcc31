"""Pages: a search with an upload, a judgement, the next page, a sighting; what is escaped; what stays here."""

import re

import pytest

from rewho.service.pages import own_path
from small_service import picture


def test_upload_judge_next_page_sighting(clients, gallery):
    client = clients.operator
    before = len(gallery.database.rows("SELECT 1 FROM searches"))
    given = {"q": "camera:door", "purpose": "a test"}
    sent = client.post("/search", data=given, files={"images": ("a.jpg", picture(), "image/jpeg")})
    assert sent.status_code == 303
    page = client.get(sent.headers["location"])
    assert page.status_code == 200
    assert "22 sightings searched with these filters" in page.text
    assert page.text.count('class="candidate') == 20
    assert "similarity 0." in page.text
    assert "Not calibrated here" in page.text
    assert gallery.database.one("SELECT purpose FROM audit WHERE action = 'search' ORDER BY id DESC")[0] == "a test"
    assert len(gallery.database.rows("SELECT 1 FROM searches")) > before
    first = int(re.search(r'name="sighting" value="(\d+)"', page.text)[1])
    place, _, query = sent.headers["location"].partition("?")
    judged = client.post(f"{place}/judge", data={"sighting": first, "verdict": "no", "q": "camera:door", "page": 1})
    again = client.get(judged.headers["location"])
    assert "21 sightings searched" in again.text
    assert f'value="{first}"' not in again.text, "a no never comes back"
    second = client.get(f"{place}?{query}&page=2")
    assert second.text.count('class="candidate') == 1
    shown = client.get(f"/sightings/{first}")
    assert f"Sighting {first}" in shown.text
    assert "door" in shown.text
    image = re.search(r'src="(/api/v1/crops/\d+/thumbnail\?proof=\w+)"', shown.text)[1]
    assert client.get(image).content[:2] == b"\xff\xd8"


def test_a_page_shows_no_markup_of_others(clients, gallery):
    evil = "<script>alert(1)</script>"
    gallery.database.link.execute("UPDATE cameras SET name = ? WHERE name = 'lift'", (evil,))
    for path in ("/", "/sightings", "/library", "/sightings/3"):
        text = clients.admin.get(path).text
        assert evil not in text
    assert "&lt;script&gt;" in clients.admin.get("/library").text
    page = clients.admin.get("/results/1", params={"q": evil})
    assert evil not in page.text


def test_a_page_has_a_strict_policy_and_nothing_inline(clients):
    page = clients.admin.get("/")
    policy = page.headers["content-security-policy"]
    assert "'unsafe" not in policy
    assert "default-src 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    for path in ("/", "/sightings", "/library", "/admin", "/account", "/login"):
        text = clients.admin.get(path).text
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! src=)|https?://", text), path


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "a\nb"])
def test_a_redirect_stays_here(path, clients):
    assert own_path(path) == "/"
    given = {"name": "viewer", "password": "correct horse battery", "next": path}
    assert clients.nobody.post("/login", data=given).headers["location"] == "/"


def test_nobody_is_sent_to_the_login_and_back(clients):
    sent = clients.nobody.get("/sightings?camera=door")
    assert sent.headers["location"] == "/login?next=%2Fsightings%3Fcamera%3Ddoor"
    page = clients.nobody.get(sent.headers["location"])
    assert 'value="/sightings?camera=door"' in page.text


def test_a_mistake_is_a_page_in_words(clients):
    page = clients.viewer.get("/sightings/999")
    assert page.status_code == 404
    assert "no such sighting" in page.text
    wrong = clients.viewer.get("/results/1?q=camra:door")
    assert wrong.status_code == 400
    assert "Did you mean camera:?" in wrong.text


def test_a_wrong_filter_leads_back_to_the_results(clients):
    place = clients.viewer.post("/sightings/1/search").headers["location"]
    for words in ("person:99", "camera:nosuch", "nonsense"):
        answer = clients.viewer.get(place, params={"q": words})
        assert (
            answer.status_code in (400, 404) and f'<a href="{place}">The same page without filters</a>' in answer.text
        )
    assert "without filters" not in clients.viewer.get("/results/99").text
