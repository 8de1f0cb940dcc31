"""A server that is not there is found out at once, and libraries are then kept from waiting for it."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rewho.core.network import is_reachable, use_hub_cache_offline


class Absent(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


def test_any_answer_counts():
    server = HTTPServer(("127.0.0.1", 0), Absent)
    threading.Thread(target=server.handle_request, daemon=True).start()
    assert is_reachable(f"http://127.0.0.1:{server.server_port}/nothing", 60)
    server.server_close()


def test_nobody_there_and_silence_are_no_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert not is_reachable(f"http://127.0.0.1:{port}/", 0.2)
    assert not is_reachable(f"http://127.0.0.1:{port}/", 60)


@pytest.mark.parametrize(
    ("before", "there", "offline"), [(False, True, False), (False, False, True), (True, True, True)]
)
def test_the_hub_is_asked_only_where_it_can_be_reached(monkeypatch, before, there, offline):
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", before)
    monkeypatch.setattr("rewho.core.network.is_reachable", lambda address: there)
    with use_hub_cache_offline():
        assert offline == constants.HF_HUB_OFFLINE
    assert before == constants.HF_HUB_OFFLINE
