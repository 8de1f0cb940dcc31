"""Image bombs, paths in place of numbers and names, words that must not be in the API, and what is on other cameras."""

import re
import struct
import time
import zlib

import pytest
from test_access import BODIES, table

from rewho.gallery.records import Actor
from small_service import picture

UPLOAD = "/api/v1/searches/images"
QUICK_S = 0.2
PATHS = (
    "..", "../..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "....//", "/etc/passwd", "%2fetc%2fpasswd", "C:\\windows",
    "..\\..", "%5c..%5c", "%00", "1%00", "1;id", "1|id", "$(id)", "`id`", "1'--", "1 OR 1=1", "-1", "+1", "1.0", "1e3",
    "0x1", "٣", "१", "1" * 17, "9" * 5000, "%ff%fe", "%c0%ae%c0%ae", "*", "~root", "file:%2f%2f%2fetc%2fpasswd",
    "http:%2f%2f127.0.0.1", "style.css%00.png", "..%2fstyle.css", "",
)  # fmt: skip
PLACES = (("/api/v1/sightings/", ""), ("/api/v1/crops/", "/thumbnail"), ("/static/", ""), ("/people/", ""))
FORBIDDEN = {
    "gender", "sex", "age", "ethnicity", "ethnic", "race", "emotion", "mood", "religion", "disability",
    "attractiveness", "nationality", "skin", "live", "stream", "rtsp", "webcam", "biometric", "recognition",
    "recognise", "identify",
}  # fmt: skip


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IEND", b"")


def jpeg_with(size: int) -> bytes:
    """Return a JPEG image whose EXIF block is repeated until it has a size."""
    whole, block = picture(), b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + b"\0" * 65_527
    return whole[:2] + block * (size // len(block)) + whole[2:]


BOMBS = {
    "a PNG of 20,000 x 20,000": png(20_000, 20_000, chunk(b"IDAT", zlib.compress(b"\0" * 10**6))),
    "a PNG of 2^31 - 1 rows": png(2**31 - 1, 2**31 - 1),
    "a PNG of no width": png(0, 100),
    "an animated PNG": png(9_000, 9_000, chunk(b"acTL", struct.pack(">II", 10_000, 0))),
    "a PNG with a text of 100 kB that unpacks to 100 MB": png(
        8_000, 8_000, chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 10**8))
    ),
    "a JPEG of 65,535 x 65,535": picture()[:2] + b"\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\1\x22\0\2\x11\1\3\x11\1",
    "a BMP of 2^30 x 2^30": b"BM" + struct.pack("<IIIIiiHH", 100, 0, 54, 40, 2**30, 2**30, 1, 24) + b"\0" * 24,
    "a WebP of 16,383 x 16,383": b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2,
    "an animated GIF": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\xf7\0\0" + b"\0" * 3000,
    "a TIFF": b"II*\0\x08\0\0\0" + b"\0" * 100,
    "a FITS": b"SIMPLE  =                    T" + b" " * 2850,
    "a PSD": b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3),
    "an EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9999 9999\n(/etc/passwd) run\n",
    "a PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n",
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "a zip": b"PK\3\4" + b"\0" * 100,
}


def test_an_image_bomb_is_refused_before_it_is_decoded(clients):
    viewer, wrong = clients.viewer, {}
    for name, content in BOMBS.items():
        began = time.process_time()
        answer = viewer.post(UPLOAD, files={"images": ("a.jpg", content, "image/jpeg")})
        spent = time.process_time() - began
        if answer.status_code != 400 or spent > QUICK_S or "expected" not in answer.json()["detail"]:
            wrong[name] = answer.status_code, spent, answer.text
    assert wrong == {}


def test_a_small_image_with_a_large_header_is_only_a_small_image(clients):
    answer = clients.viewer.post(UPLOAD, files={"images": ("a.jpg", jpeg_with(600_000), "image/jpeg")})
    assert answer.status_code == 200


@pytest.mark.slow
def test_a_path_in_place_of_a_number_or_a_name_leads_nowhere(clients):
    wrong = []
    for path in PATHS:
        for begin, end in PLACES:
            answer = clients.admin.get(f"{begin}{path}{end}")
            elsewhere = not path or not answer.url.path.startswith(begin)  # the client itself takes ".." away
            if answer.status_code not in ((200, 307, 404, 405) if elsewhere else (307, 400, 404, 422)):
                wrong.append((f"{begin}{path[:50]}{end}", answer.status_code, answer.url.path[:60]))
            assert "root:" not in answer.text
        job = clients.admin.post("/api/v1/jobs", json={"kind": "add", "path": path})
        assert job.status_code in (400, 422), path
    assert wrong == []


def test_the_api_knows_no_trait_of_a_person_and_no_live_camera(clients):
    document = clients.nobody.get("/api/v1/openapi.json").json()
    names = set()

    def collect(part):
        if isinstance(part, dict):
            names.update(part)
            known = (part.get("name"), part.get("operationId"), *part.get("enum", ()))
            names.update(value for value in known if isinstance(value, str))
            for one in part.values():
                collect(one)
        elif isinstance(part, list):
            for one in part:
                collect(one)

    collect(document)
    words = {word for name in names for word in re.findall("[a-z]+", re.sub("([A-Z])", r" \1", name).lower())}
    assert len(words) > 100
    assert words & FORBIDDEN - {"live"} == set()
    assert [path for path in document["paths"] if "live" in path] == ["/health/live"]


@pytest.mark.slow
def test_every_route_hides_what_is_on_other_cameras(clients, gallery):
    """An operator of one camera asks every route for what another camera saw: it is not there."""
    person = gallery.people.name("elsewhere", sightings=[2, 5])
    case = gallery.cases.open("elsewhere", "a test", by=Actor("admin"))
    gallery.cases.collect(case, [2], by=Actor("admin"))
    search = gallery.search(sightings=[2], by=Actor("admin")).search
    places = {"sighting": 2, "crop": 2, "search": search, "person": person, "case": case, "event": 1, "number": 1,
              "source": 1, "job": 1}  # fmt: skip
    forms = {
        "/cases/collect": {"case": case, "sightings": 2}, "/people/merge": {"people": f"{person} {person + 1}"},
        "/people/name": {"person": person, "name": "x"}, "/people/split": {"sightings": 2},
        "/review": {"one": 2, "other": 5, "answer": "same", "rest": ""}, "/cases/{case}/drop": {"sightings": 2},
        "/results/{search}/judge": {"sighting": 2, "verdict": "no"},
    }  # fmt: skip
    bodies = {
        **BODIES, "/api/v1/searches": {"sightings": [2]}, "/api/v1/people": {"name": "x", "person": person},
        "/api/v1/searches/{search}/judgements": {"verdicts": {"2": "no"}},
        "/api/v1/people/merge": {"people": [person, person + 1]},
        "/api/v1/reviews": {"one": 2, "other": 5, "answer": "same"},
    }  # fmt: skip
    found, before = {}, gallery.audit_head()
    for method, path in sorted(table()):
        asks = "{" in path or (method != "GET" and (path in forms or path in bodies))  # a list is of one's own cameras
        if not asks or "{name}" in path or "{path}" in path:
            continue
        if path in ("/api/v1/users", "/api/v1/cases", "/api/v1/me/tokens", "/account/tokens/{number}/end"):
            continue  # one's own
        place = re.sub(r"\{(\w+)\}", lambda name: str(places[name[1]]), path)
        body = {"json": bodies.get(path, {"sightings": [2]})} if path.startswith("/api") and method != "GET" else {}
        answer = clients.doorman.request(method, place, **body, **({"data": forms[path]} if path in forms else {}))
        if answer.status_code < 400 and answer.text != "[]":
            found[method, path] = answer.status_code, answer.text[:200]
    assert found == {}
    pairs = clients.doorman.get("/api/v1/reviews").json()
    assert {row[side]["camera"] for row in pairs for side in ("one", "other")} == {"door"}
    seen = [one for one in gallery.audit(limit=500) if one.who == "doorman" and 2 in one.ids.get("sightings", ())]
    assert seen == [], before


@pytest.mark.parametrize("when", ["253402300800", "9" * 60, "-99999999999999", "9999-12-31T23:59:59-12:00"])
def test_a_date_that_no_page_could_show_is_refused(clients, when):
    assert clients.admin.post("/admin/sources/1/retention", data={"expires": when}).status_code == 400
    assert clients.admin.put("/api/v1/sources/1/retention", json={"expires": when}).status_code == 400
    asked = {"sightings": [1], "filters": {"before": when}}
    assert clients.admin.post("/api/v1/searches", json=asked).status_code == 400
    assert [clients.admin.get(path).status_code for path in ("/admin", "/library")] == [200, 200]


def test_a_page_begins_only_where_one_ended(clients):
    for begin in ("nan,3", "inf,3", "0.5", "0.5,x", "0.5,-1", f"0.5,{'9' * 30}"):
        assert clients.viewer.post("/api/v1/searches", json={"sightings": [1], "next": begin}).status_code == 400


def test_another_ones_case_is_not_opened_by_its_name(clients):
    asked = {"name": "theft", "purpose": "order 1"}
    assert clients.admin.post("/api/v1/cases", json=asked).status_code == 201
    answer = clients.doorman.post("/api/v1/cases", json=asked)
    assert answer.status_code == 400 and "expected a free name" in answer.json()["detail"]
    assert clients.doorman.post("/api/v1/cases", json={**asked, "name": "mine"}).json()["sightings"] == 0
    long = clients.admin.post("/cases", data={"name": "x" * 201, "purpose": "y"})
    assert long.status_code == 400 and "1 to 200 characters, got 201" in long.text, "it is not cut off"


def test_addresses_that_cannot_be_read_are_refused(clients):
    for origin in ("http://[", "null", "", "http://evil.example", "127.0.0.1", "https://127.0.0.1.evil.example"):
        answer = clients.nobody.post("/login", data={"name": "x", "password": "y"}, headers={"Origin": origin})
        assert answer.status_code == 403, origin
    assert clients.nobody.post("/login", data={"name": "x"}, headers={"Origin": "http://127.0.0.1"}).status_code == 401
    for target in ("http://[", "//[", "//evil.example", "/\\evil.example", "javascript:1"):
        page = clients.nobody.get("/login", params={"next": target})
        assert page.status_code == 200 and 'name="next" value="/"' in page.text, target
