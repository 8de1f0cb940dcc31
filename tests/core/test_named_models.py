"""Models by name: downloaded once, whole and unchanged, whatever the server and the network do."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_args

import pytest

from rewho.cli import main
from rewho.core import download as downloads
from rewho.core.check import UserError
from rewho.core.named_models import NAMED_MODELS, NamedModel, find_named, models_folder
from rewho.settings import DetectorSettings, PoseSettings
from rewho.settings.fields import annotations_of
from rewho.video.adapters import build_detector, build_pose

CONTENT = hashlib.shake_256(b"a model").digest(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers as its `behaviour` says, and keeps the Range of every request."""

    behaviour, asked = "whole", []

    def address(self, path: str = "model.onnx") -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *words: object) -> None:
        return

    def do_GET(self) -> None:
        how, asked = self.server.behaviour, self.headers.get("Range", "")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and how != "no ranges" else 0
        if how.startswith("to ") and self.path == "/model.onnx":
            self.send_response(302)
            self.send_header("Location", how.removeprefix("to "))
            self.end_headers()
            return
        if how == "missing":
            self.send_error(404)
            return
        content = {"other": b"x" * len(CONTENT), "page": b"<html>please log in</html>"}.get(how, CONTENT)[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = how in ("cut", "no ranges") and len(self.server.asked) == 1
        self.wfile.write(content[: 300_000 if cut else 0 if how == "silent" else None])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        found.asked = []
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    monkeypatch.setenv("REWHO_CACHE", str(tmp_path / "cache"))
    model = NamedModel("yolox-s", "detector", server.address(), len(CONTENT), SHA256, "Apache-2.0", "a test")
    monkeypatch.setitem(NAMED_MODELS, "yolox-s", model)
    return tmp_path / "cache" / "models"


def get() -> int:
    return main(["models", "get", "yolox-s"])


def test_it_is_downloaded_once_and_found_by_its_name(cache, server, capsys):
    with pytest.raises(UserError, match="Run `rewho models get yolox-s`"):
        find_named("yolox-s", "detector.kind")
    assert get() == 0 and get() == 0
    assert len(server.asked) == 1, "the second call asks for nothing"
    assert find_named("yolox-s", "detector.kind").read_bytes() == CONTENT
    assert sorted(path.name for path in cache.iterdir()) == ["yolox-s.onnx"], "nothing unfinished is left"
    assert "rewho crop --detector yolox-s" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["cut", "no ranges"])
def test_a_cut_connection_is_taken_up_again(cache, server, capsys, how):
    server.behaviour = how
    assert get() == 0
    assert server.asked == ["", "bytes=300000-"]
    assert find_named("yolox-s", "detector.kind").read_bytes() == CONTENT
    assert "the connection was cut after 300,000 of 700,000 bytes" in capsys.readouterr().err


def test_an_interrupted_download_is_continued_by_the_next_command(cache, server, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    server.behaviour = "cut"
    assert get() == 2
    message = capsys.readouterr().err
    assert "got 300,000 bytes" in message and "Run the same command again, which continues" in message
    assert not (cache / "yolox-s.onnx").exists()
    assert get() == 0
    assert server.asked == ["", "bytes=300000-"]


@pytest.mark.parametrize("left", [b"x" * 300_000, b"x" * 800_000, CONTENT])
def test_what_another_program_left_is_never_taken_for_the_file(cache, server, left):
    cache.mkdir(parents=True)
    (cache / "yolox-s.onnx.part").write_bytes(left)
    if get() == 2:  # its beginning was wrong, which only the hash shows
        assert get() == 0
    assert (cache / "yolox-s.onnx").read_bytes() == CONTENT


def test_another_file_is_refused_and_removed(cache, server, capsys):
    server.behaviour = "other"
    assert get() == 2
    message = capsys.readouterr().err
    assert f"expected a file of sha256 {SHA256}" in message and "do not use them" in message
    assert not list(cache.glob("yolox*"))


@pytest.mark.parametrize(("how", "words"), [("page", "got 26 bytes"), ("missing", "got status 404")])
def test_a_page_instead_of_the_file_says_what_to_fetch_by_hand_and_where_to_put_it(cache, server, capsys, how, words):
    server.behaviour = how
    assert get() == 2
    message = capsys.readouterr().err
    assert words in message
    assert f"Fetch {server.address()} by hand, and save it as {cache / 'yolox-s.onnx'} (700,000 bytes)" in message


def test_a_redirect_to_another_host_or_scheme_is_refused(cache, server, capsys):
    for there in (f"http://localhost:{server.server_port}/x", f"ftp://127.0.0.1:{server.server_port}/x", "file:///etc"):
        server.behaviour = f"to {there}"
        assert get() == 2
        assert re.search("got a redirect to|Redirection to url", capsys.readouterr().err)
    assert not list(cache.glob("yolox*"))


def test_a_redirect_to_the_same_host_or_a_named_one_is_followed(cache, server, monkeypatch):
    server.behaviour = f"to {server.address('there')}"
    assert get() == 0
    (cache / "yolox-s.onnx").unlink()
    other = f"localhost:{server.server_port}"
    monkeypatch.setitem(NAMED_MODELS, "yolox-s", replace(NAMED_MODELS["yolox-s"], hosts=(other,)))
    server.behaviour = f"to http://{other}/there"
    assert get() == 0


def test_without_a_network_the_message_says_what_to_do(cache, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/model.onnx"
    monkeypatch.setitem(NAMED_MODELS, "yolox-s", replace(NAMED_MODELS["yolox-s"], address=address))
    assert get() == 2
    message = capsys.readouterr().err
    assert "Connection refused" in message and f"fetch {address} by hand" in message
    assert str(cache / "yolox-s.onnx") in message


def test_a_damaged_file_is_refused_where_it_is_used_and_replaced_by_get(cache, server, capsys):
    assert get() == 0
    (cache / "yolox-s.onnx").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(UserError, match="expected a file of sha256"):
        build_detector(DetectorSettings(kind="yolox-s"))
    assert get() == 0 and "downloading it again" in capsys.readouterr().err
    assert (cache / "yolox-s.onnx").read_bytes() == CONTENT


def test_too_little_space_is_found_before_anything_is_asked_for(cache, server, monkeypatch, capsys):
    usage = downloads.shutil._ntuple_diskusage(10, 10, 1000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage)
    assert get() == 2 and not server.asked
    assert "expected 700,000 bytes free" in capsys.readouterr().err


def test_wrong_names_get_the_nearest(capsys):
    assert main(["models", "get", "yolox-n"]) == 2 and "yolox-nano" in capsys.readouterr().err
    assert main(["models", "get"]) == 2 and "name of a model" in capsys.readouterr().err
    assert main(["models", "list", "yolox-s"]) == 2


def test_a_name_and_a_file_contradict_each_other():
    with pytest.raises(UserError, match=r"Leave out --detector\.weights"):
        build_detector(DetectorSettings(kind="yolox-s", weights=Path("other.onnx")))
    with pytest.raises(UserError, match=r"Leave out --pose\.weights"):
        build_pose(PoseSettings(kind="mediapipe-pose", weights=Path("other.onnx")))


def test_every_named_model_can_be_chosen_and_is_described(capsys):
    for settings, kind in ((DetectorSettings, "detector"), (PoseSettings, "pose")):
        names = {model.name for model in NAMED_MODELS.values() if model.kind == kind}
        assert names and names < set(get_args(annotations_of(settings)["kind"]))
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    for model in NAMED_MODELS.values():
        assert model.address.startswith("https://") and len(model.sha256) == 64 and model.licence == "Apache-2.0"
        assert all(text in shown for text in (f"{model.name}  ", model.sha256, model.address))


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("REWHO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "rewho" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert models_folder() == Path.home() / ".cache" / "rewho" / "models"
    monkeypatch.setenv("REWHO_CACHE", str(tmp_path / "own"))
    assert models_folder() == tmp_path / "own" / "models"


def test_another_folder_is_named_in_what_to_type(cache, server, tmp_path, capsys):
    assert main(["models", "get", "yolox-s", "--cache", str(tmp_path / "weights")]) == 0
    assert f"--detector.weights {tmp_path / 'weights' / 'yolox-s.onnx'}" in capsys.readouterr().err
