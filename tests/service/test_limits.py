"""Limits: what is too large, too slow, or too much at once is refused before it is parsed; requests sent twice."""

import asyncio
import json

import cv2
import numpy as np
import pytest

from rewho.service.limits import Gate
from rewho.service.metrics import Metrics
from rewho.settings.serve import ServiceLimits
from small_service import picture

UPLOAD = "/api/v1/searches/images"


def test_a_large_body_is_refused_by_its_length_and_as_it_arrives(clients):
    big = b"x" * 1_200_000
    assert clients.viewer.post(UPLOAD, content=big).status_code == 413
    parts = (big[start : start + 9999] for start in range(0, len(big), 9999))
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert clients.viewer.post(UPLOAD, content=parts, headers=kind).status_code == 413


def test_many_parts_and_many_pixels_are_refused(clients):
    parts = [("images", (f"{at}.jpg", b"x", "image/jpeg")) for at in range(60)]
    answer = clients.viewer.post(UPLOAD, files=parts)
    assert answer.status_code == 413, answer.text
    from struct import pack
    from zlib import crc32

    header = b"IHDR" + pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + pack(">I", 13) + header + pack(">I", crc32(header))
    answer = clients.viewer.post(UPLOAD, files={"images": ("a.png", bomb, "image/png")})
    assert answer.status_code == 400


def test_an_image_whose_decoder_takes_too_much_is_refused_in_words(clients):
    clear = cv2.imencode(".png", np.zeros((3400, 3600, 4), np.uint8))[1].tobytes()
    answer = clients.viewer.post(UPLOAD, files={"images": ("a.png", clear, "image/png")})
    assert answer.status_code == 413
    assert "at most 46 MB to decode, got one of 49 MB. Save it as a plain JPEG" in answer.json()["detail"]
    plain = cv2.imencode(".png", np.zeros((3400, 3600, 3), np.uint8))[1].tobytes()
    assert clients.viewer.post(UPLOAD, files={"images": ("a.png", plain, "image/png")}).status_code == 200


@pytest.mark.parametrize("content", [b"", b"x", b"GIF89a", picture()[:100]])
def test_what_is_no_image_is_a_problem_in_words(content, clients):
    answer = clients.viewer.post(UPLOAD, files={"images": ("a.jpg", content, "image/jpeg")})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "expected" in answer.json()["detail"]


def run_gate(messages, headers=(), limits=None, app=None):
    """Send messages to a gate before an application that reads the body; return the answers' statuses and the log."""
    sent, log = [], []

    async def read_all(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        if messages:
            return messages.pop(0)
        return await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": list(headers), "path": "/"}
    gate = Gate(app or read_all, limits or ServiceLimits(), Metrics(), log.append, frozenset(), https=True)
    asyncio.run(gate(scope, receive, send))
    return sent, log


def test_a_slow_body_ends_in_time():
    with pytest.raises(Exception, match="request: expected its body within") as refused:
        run_gate([{"type": "http.request", "body": b"a", "more_body": True}], limits=ServiceLimits(body_seconds=0.05))
    assert refused.value.status_code == 408


def test_uploads_have_few_places_and_each_is_given_back():
    limits = ServiceLimits(uploads=1)
    inner = []

    async def app(scope, receive, send):
        nested = {"type": "http", "method": "POST", "headers": [(b"content-length", b"90000")], "path": "/"}

        async def answer(message):
            inner.append(message)

        await gate(nested, receive, answer)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    gate = Gate(app, limits, Metrics(), print, frozenset(), https=False)

    async def nothing(message=None):
        return {"type": "http.request", "body": b"", "more_body": False}

    for _ in range(2):
        asyncio.run(gate({"type": "http", "method": "POST", "headers": [(b"content-length", b"90000")], "path": "/"},
                         nothing, nothing))  # fmt: skip
    assert [message["status"] for message in inner if message["type"] == "http.response.start"] == [429, 429]


def test_the_log_and_the_metrics_name_nobody(clients, lines):
    clients.viewer.get("/sightings?camera=door")
    last = json.loads(lines[-1])
    assert set(last) == {"time", "request", "method", "route", "status", "ms"}
    assert last["route"] == "/sightings"
    assert not any("viewer" in line or "door" in line or "testclient" in line for line in lines)
    clients.viewer.get("/api/v1/sightings/7")
    assert json.loads(lines[-1])["route"] == "/api/v1/sightings/{sighting}"
    text = clients.viewer.get("/metrics").text
    assert 'rewho_requests_total{method="GET",route="/sightings",status="200"} 1' in text
    assert "rewho_jobs" in text


def test_a_request_sent_twice_is_done_once(clients, gallery):
    body, head = {"name": "red jacket", "sightings": [1]}, {"Idempotency-Key": "one"}
    first = clients.operator.post("/api/v1/people", json=body, headers=head)
    second = clients.operator.post("/api/v1/people", json=body, headers=head)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert len(gallery.people.list()) == 1
    other = clients.operator.post("/api/v1/people", json={**body, "sightings": [2]}, headers=head)
    assert other.status_code == 409


def test_pages_of_results_continue_by_key_and_thumbnails_have_etags(clients):
    ask, seen, key = {"sightings": [1], "count": 30}, [], ""
    while key is not None:
        page = clients.viewer.post("/api/v1/searches", json={**ask, "next": key}).json()
        seen += [row["sighting"]["id"] for row in page["candidates"]]
        key = page["next"]
    assert sorted(seen) == list(range(2, 67))
    image = clients.viewer.get("/api/v1/crops/1/thumbnail")
    again = clients.viewer.get("/api/v1/crops/1/thumbnail", headers={"If-None-Match": image.headers["etag"]})
    assert (image.status_code, again.status_code, again.content) == (200, 304, b"")


def test_health(clients):
    assert clients.nobody.get("/health/live").text == "ok"
    for _ in range(200):
        if (answer := clients.nobody.get("/health/ready")).status_code == 200:
            break
    assert answer.text == "ready"
