"""The service as a process, under load: kills, bodies without end, clients that stall, many images at once."""

import concurrent.futures
import http.client
import json
import random
import shutil
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from rewho.gallery.gallery import Gallery
from running_service import Running, serving
from small_service import picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KILLS, CLIENTS = 50, 4
MOST_MEMORY = 50.0  # megabytes more than before


@pytest.fixture
def folder(filled, tmp_path):
    """A gallery without users, closed."""
    place = shutil.copytree(filled, tmp_path / "gallery")
    with Gallery(place, "cpu") as gallery, gallery.database.writing() as link:
        link.execute("DELETE FROM users")
    return place


def connect(service, timeout=60):
    return http.client.HTTPConnection(urlsplit(service.address).netloc, timeout=timeout)


def search(connection, sighting, purpose):
    """Search once; return the ids that were answered."""
    head = {"Content-Type": "application/json", "X-Purpose": purpose, "X-CSRF-Token": connection.csrf}
    connection.request("POST", "/api/v1/searches", json.dumps({"sightings": [sighting]}), head)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content
    return sorted(row["sighting"]["id"] for row in json.loads(content)["candidates"])


def log_in(connection):
    """Read the token that pages carry."""
    connection.request("GET", "/admin")
    page = connection.getresponse().read().decode()
    connection.csrf = page.partition('data-csrf="')[2].partition('"')[0]
    return connection


def test_after_kills_the_audit_has_what_was_answered(folder):
    answered, asked, guard = {}, [], threading.Lock()
    draw = random.Random(1)
    for kill in range(KILLS):
        service = Running(folder)

        def work(number, service=service, kill=kill):
            connection = log_in(connect(service))
            for at in range(10_000):
                purpose = f"kill {kill} client {number} request {at}"
                with guard:
                    asked.append(purpose)
                try:
                    found = search(connection, 1 + (at + number) % 66, purpose)
                except (OSError, http.client.HTTPException):
                    return
                with guard:
                    answered[purpose] = found

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            done = [pool.submit(work, number) for number in range(CLIENTS)]
            before = len(answered)
            while len(answered) < before + 5:
                time.sleep(0.01)
                for one in done:
                    assert not one.done() or one.result() is None, "it ended before the kill"
                assert not all(one.done() for one in done), service.log[-2000:]
            time.sleep(draw.uniform(0.0, 1.0))
            service.process.kill()
            service.process.wait()
            for one in done:
                one.exception()
    with Gallery(folder, "cpu") as gallery:
        written = {}
        for record in gallery.audit(action="search"):
            written.setdefault(record.purpose, []).append(sorted(record.ids["sightings"]))
        assert gallery.verify() == []
    assert {purpose: written.get(purpose) for purpose in answered} == {one: [ids] for one, ids in answered.items()}
    assert set(written) - set(answered) <= set(asked), "what was not answered was asked"
    assert len(set(written) - set(answered)) <= KILLS * CLIENTS
    print(f"{KILLS} kills, {len(answered)} answered searches, {len(written)} records")


def percentile(service, count=60, share=0.95):
    """Return the time of a normal search that the slowest in twenty take, in seconds."""
    connection, spent = log_in(connect(service)), []
    for at in range(count):
        began = time.perf_counter()
        search(connection, 1 + at % 66, "a normal query")
        spent.append(time.perf_counter() - began)
    return sorted(spent)[round(share * (count - 1))]


def raw(service, head, body=b"", wait=30.0, chunk=b"", chunks=0):
    """Send bytes; return the status that was answered, also to a part of them."""
    place = urlsplit(service.address)
    begun = f"{head}\r\nHost: {place.netloc}\r\nX-CSRF-Token: {service.csrf}\r\n\r\n".encode() + body
    got = b""
    with socket.create_connection((place.hostname, place.port), timeout=wait) as link:
        for send in (begun, *[chunk] * chunks):
            try:
                link.sendall(send)
            except OSError:
                break  # it hung up, having answered
        try:
            while b"\r\n" not in got and (part := link.recv(4096)):
                got += part
        except ConnectionResetError:
            return 0  # it hung up on what was still being sent: only its log has the status
    return int(got.split(b" ")[1]) if got else 0


UPLOAD = "POST /api/v1/searches/images HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x"


def test_what_is_too_much_is_refused_and_others_go_on(folder):
    with serving(folder, "--limits.body_seconds", "3") as service:
        service.csrf = log_in(connect(service)).csrf
        idle = percentile(service)
        image = picture(1, 1400, 1000, ".png")
        form = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n' + image + b"\r\n--x--\r\n"
        for _ in range(8):  # one at a time: a normal time
            assert raw(service, f"{UPLOAD}\r\nContent-Length: {len(form)}", form) == 200
        before = service.memory()
        service.forget_peak()
        assert raw(service, f"{UPLOAD}\r\nContent-Length: 2000000000") == 413
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        first = f"{len(head):x}\r\n".encode() + head + b"\r\n"
        assert raw(service, f"{UPLOAD}\r\nTransfer-Encoding: chunked", first, chunk=chunk, chunks=2000) in (413, 0)
        assert service.log.count('"status": 413') == 2
        part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\nx\r\n'
        parts = part * 1000 + b"--x--\r\n"
        assert raw(service, f"{UPLOAD}\r\nContent-Length: {len(parts)}", parts) in (400, 413)
        with concurrent.futures.ThreadPoolExecutor(220) as pool:
            slow = [pool.submit(raw, service, f"{UPLOAD}\r\nContent-Length: 60000", b"--x\r\n") for _ in range(200)]
            meanwhile = percentile(service)
            stalled = {one.result() for one in slow}
        assert stalled == {408}
        with concurrent.futures.ThreadPoolExecutor(110) as pool:
            large = [pool.submit(raw, service, f"{UPLOAD}\r\nContent-Length: {len(form)}", form) for _ in range(100)]
            busy = percentile(service)
            statuses = [one.result() for one in large]
        most = service.memory("VmHWM")
        print(
            f"idle p95 {1e3 * idle:.0f} ms; beside 200 slow clients {1e3 * meanwhile:.0f} ms; beside 100 images of "
            f"{len(image) / 1e6:.1f} MB {1e3 * busy:.0f} ms; memory {before:.0f} MB, at most {most:.0f} MB; "
            f"{ {status: statuses.count(status) for status in set(statuses)} }"
        )
        assert set(statuses) <= {200, 429, 0}
        assert statuses.count(429) > 10
        assert most < before + MOST_MEMORY
        assert meanwhile < max(2 * idle, 0.1)
