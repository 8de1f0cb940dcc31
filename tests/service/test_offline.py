"""The service where there is no network: it works, and asks for nothing outside this machine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
WATCH = """
import sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        with open({file!r}, "a") as out:
            out.write(f"{{event}} {{arguments[1:] if event == 'socket.connect' else arguments}}\\n")
sys.addaudithook(note)
"""
ALONE = """
import fcntl, json, pathlib, socket, struct, sys
from small_service import picture
from running_service import serving
import httpx2 as http
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
    fcntl.ioctl(link, 0x8914, struct.pack("16sH14x", b"lo", 0x49))  # the loopback device, up and running
place = pathlib.Path(sys.argv[1])
(place / "one.jpg").write_bytes(picture())
found = {}
with serving(place / "gallery") as service:
    with http.Client(base_url=service.address, timeout=300, trust_env=False) as client:
        page = client.get("/admin").text
        client.headers["X-CSRF-Token"] = page.partition('data-csrf="')[2].partition('"')[0]
        for path in ("/", "/sightings", "/people", "/review", "/cases", "/library", "/quality", "/admin/audit"):
            found[path] = client.get(path).status_code
        files = {"images": ("a.jpg", (place / "one.jpg").read_bytes(), "image/jpeg")}
        found["upload"] = client.post("/api/v1/searches/images", files=files).status_code
        found["search"] = client.post("/api/v1/searches", json={"sightings": [1]}).status_code
try:
    socket.create_connection(("192.0.2.1", 80), 5)
    found["network"] = "there"
except OSError:
    found["network"] = "none"
print(json.dumps(found))
"""


@pytest.fixture
def place(filled, tmp_path):
    from rewho.gallery.gallery import Gallery

    with Gallery(shutil.copytree(filled, tmp_path / "gallery"), "cpu") as gallery, gallery.database.writing() as link:
        link.execute("DELETE FROM users")
    return tmp_path


def test_the_service_works_without_a_network_and_calls_nobody(place):
    apart = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no network namespace may be made here")
    calls = place / "calls"
    (place / "watch").mkdir()
    (place / "watch" / "sitecustomize.py").write_text(WATCH.format(file=str(calls)))
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join(map(str, (place / "watch", tests, *sys.path)))
    alone = subprocess.run(
        [*apart, sys.executable, "-c", ALONE, str(place)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(alone.stdout.splitlines()[-1])
    assert found.pop("network") == "none"
    assert set(found.values()) == {200}, found
    outside = [line for line in calls.read_text().splitlines() if "127.0.0.1" not in line and "192.0.2.1" not in line]
    assert outside == []
