"""Evaluations and trainings on the Quality page: what is shown, who may see it, and no file but a run's own pages."""

import json
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from rewho.core.check import UserError
from rewho.report.html_page import build_page
from rewho.report.runs import find_file
from rewho.service.app import build_app
from small_service import BASE

RUN = {"settings": {}, "inputs": {}, "started": "2026-05-01T10:00:00Z"}
PAYLOADS = (
    "..", "../secret.html", "../../secret.html", "ev/../../secret.html", "ev/../secret.html", "/etc/passwd",
    "//etc/passwd", "ev//etc/passwd", "ev/..%2f..%2fsecret.html", "%2e%2e/secret.html", "ev/%2e%2e/%2e%2e/secret.html",
    "ev\\..\\..\\secret.html", "ev/link.html", "ev/out/secret.html", "ev/model.safetensors", "ev/index.html/", "ev/.",
    "ev/", "ev", "", "ev/\0.html", "ev/%00.html", "ev/index.html%00.png", "other/index.html", "secret.html",
    "gallery/gallery.sqlite", "gallery/secret.json", "crops/index.html", "x" * 3000, "ev/" + "a/" * 900 + "b.html",
    "ev/" + "é" * 300 + ".html", "ev/run.json/index.html", "linked/index.html",
)  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    """A folder with an evaluation, a training, and what must not be shown."""
    top = tmp_path / "runs"
    for name, stage in (("ev", "evaluate"), ("trained", "train"), ("crops", "crop")):
        (top / name).mkdir(parents=True)
        (top / name / "manifest.json").write_text(json.dumps({**RUN, "stage": stage}))
        (top / name / "index.html").write_text(build_page("A run", "<script>alert(1)</script>"))
    (top / "ev" / "metrics.json").write_text(
        json.dumps({"results": [{"rankings": [{"rank_1": 0.623, "mAP_rectangular": 0.394}]}]})
    )
    rows = [{"step": 10, "epoch": 1, "epoch_total": 3.5}, {"step": 20, "epoch": 2, "epoch_total": 2.5, "mAP": 0.1}]
    (top / "trained" / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "secret.html").write_text("secret")
    (top / "secret.html").write_text("secret")
    (top / "ev" / "model.safetensors").write_text("secret")
    (top / "ev" / "link.html").symlink_to(tmp_path / "secret.html")
    (top / "ev" / "out").symlink_to(tmp_path)
    (top / "linked").symlink_to(top / "ev")
    (top / "gallery").mkdir()
    (top / "gallery" / "gallery.sqlite").write_text("secret")
    (top / "gallery" / "secret.json").write_text("secret")
    return top


@pytest.fixture
def client(gallery, runs):
    with gallery.database.writing() as link:
        link.execute("DELETE FROM users")
    with TestClient(build_app(gallery, runs=runs), BASE, follow_redirects=False) as opened:
        yield opened


def test_a_run_is_listed_shown_and_opened_without_any_script(client, gallery):
    page = client.get("/quality").text
    assert page.index("62.3 %") < page.index("39.4 %")
    assert "/quality/run?name=trained" in page
    assert "name=crops" not in page
    training = client.get("/quality/run?name=trained").text
    assert training.count('<img class="plot" src="data:image/svg+xml;base64,') == 2
    own = client.get("/runs/ev/index.html")
    policy = own.headers["content-security-policy"]
    assert own.headers.get_list("content-security-policy") == [policy]
    assert "script" not in policy
    assert "unsafe" not in policy
    assert "style-src 'sha256-" in policy
    assert client.get("/runs/ev/metrics.json").json()["results"]
    records = gallery.audit(action="run")
    assert [record.asked["run"] for record in records] == ["ev", "ev", "trained"]


def test_no_path_leaves_the_pages_of_runs(client, runs):
    for path in PAYLOADS:
        with pytest.raises(UserError):
            find_file(runs, path)
        answer = client.get(f"/runs/{quote(path)}")
        assert answer.text != "secret", path
        assert answer.status_code in (400, 404) or not answer.url.path.startswith("/runs/"), (
            path
        )  # the client joined ".."
        named = client.get("/quality/run", params={"name": path})
        assert named.status_code in (404, 422) or path == "ev", path


def test_runs_are_for_those_who_see_every_camera(clients):
    for path in ("/runs/ev/index.html", "/quality/run?name=ev"):
        assert clients.doorman.get(path).status_code == 403
        assert clients.viewer.get(path).status_code == 404, "a service without a folder of runs"
