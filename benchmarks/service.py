"""Times of queries through HTTP on a gallery of random embeddings, as `rewho serve` answers them.

    python benchmarks/service.py --count 100000

Prints one row per figure: searches by the API, by the page with its redirect, with an uploaded image, and filtered; one
client at a time, then several.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import cv2
import numpy as np

from gallery import batches, make_gallery, row, show, times


class Client:
    """One connection to the service."""

    def __init__(self, place: str) -> None:
        self._connection = http.client.HTTPConnection(place, timeout=120)
        page = self._ask("GET", "/admin")[1].decode()
        self._csrf = page.partition('data-csrf="')[2].partition('"')[0]

    def _ask(self, method: str, path: str, body: bytes = b"", **head: str) -> tuple[str, bytes]:
        self._connection.request(method, path, body, {name.replace("_", "-"): text for name, text in head.items()})
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status < 400, (answer.status, content[:300])
        return answer.getheader("location") or "", content

    def api(self, number: int, **filters: object) -> None:
        """Search with a sighting by the API."""
        body = json.dumps({"sightings": [number], "filters": filters}).encode()
        self._ask("POST", "/api/v1/searches", body, Content_Type="application/json", X_CSRF_Token=self._csrf)

    def page(self, number: int) -> None:
        """Search with a sighting as a browser does, without its images."""
        form = urlencode({"csrf": self._csrf}).encode()
        head = {"Content_Type": "application/x-www-form-urlencoded"}
        place, _ = self._ask("POST", f"/sightings/{number}/search", form, **head)
        self._ask("GET", place)

    def image(self, image: bytes) -> None:
        """Search with an uploaded image by the API."""
        part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n' + image + b"\r\n--x--\r\n"
        head = {"Content_Type": "multipart/form-data; boundary=x", "X_CSRF_Token": self._csrf}
        self._ask("POST", "/api/v1/searches/images", part, **head)


def measure(place: str, count: int, rounds: int, clients: int) -> None:
    client = Client(place)
    image = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (256, 128, 3), np.uint8))[1].tobytes()

    def number(at: int) -> int:
        return 1 + 7 * at % count

    asked: dict[str, Callable[[int], None]] = {
        "API, a sighting": lambda at: client.api(number(at)),
        "API, a sighting, 1 camera": lambda at: client.api(number(at), cameras=["camera 3"]),
        "API, an uploaded image": lambda at: client.image(image),
        "page, a sighting: search, redirect, results": lambda at: client.page(number(at)),
    }
    for what, work in asked.items():
        show(what, times(work, rounds))
    found: list[float] = []

    def work(first: int) -> None:
        own = Client(place)
        found.extend(times(lambda at: own.api(number(first + 97 * at)), rounds // clients))

    threads = [threading.Thread(target=work, args=(one,)) for one in range(clients)]
    began = time.perf_counter()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    show(f"API, a sighting, {clients} clients at a time", sorted(found))
    row("together", f"{len(found) / (time.perf_counter() - began):.1f}", "searches/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rewho-") as place:
        with make_gallery(Path(place), given.size) as gallery:
            writer = gallery.writer("benchmark", gallery.model_sha256)
            for batch in batches(given.count, given.size, 20_000):
                writer.write(batch)
        command = [sys.executable, "-m", "rewho", "serve", f"{place}/gallery", "--port", "0", "--device", "cpu"]
        log = Path(place) / "log"
        began = time.perf_counter()
        with log.open("wb") as file:
            process = subprocess.Popen(command, stderr=file, stdout=file)
        try:
            while not (found := re.search(r"open http://(\S+) in a browser", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            connection = http.client.HTTPConnection(found[1], timeout=60)
            status = 0
            while status != 200:
                connection.request("GET", "/health/ready")
                answer = connection.getresponse()
                status = answer.status
                answer.read()
                time.sleep(0.1)
            row(
                f"{given.count:,} sightings: from the start until it is ready",
                f"{time.perf_counter() - began:.1f}",
                "s",
            )
            measure(found[1], given.count, given.rounds, given.clients)
            used = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            assert used
            row("memory", f"{int(used[1]) / 1024:.0f}", "MB")
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
