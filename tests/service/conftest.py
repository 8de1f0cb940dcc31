"""A gallery of three cameras, copied for each test, and clients of its service in every role."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra gallery is not installed")
pytest.importorskip("argon2", reason="the extra gallery is not installed")

from fastapi.testclient import TestClient

from rewho.gallery.adding import Embedded
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Actor
from rewho.service.app import build_app
from rewho.settings.serve import ServiceLimits
from small_gallery import TERMS, crops_of, make_model, random_vectors
from small_service import BASE, PASSWORD, ROLES, SIGHTINGS, picture


@pytest.fixture(scope="session")
def filled(tmp_path_factory) -> Path:
    """A gallery with sightings on three cameras in turn, and a user in every role."""
    top = tmp_path_factory.mktemp("service")
    with Gallery.create(top / "gallery", make_model(top / "model"), terms=TERMS) as gallery:
        writer = gallery.writer("random", gallery.model_sha256)
        vectors = random_vectors(SIGHTINGS)
        items = zip(crops_of(SIGHTINGS), vectors, strict=True)
        writer.write([Embedded(crop, vector, picture(at)) for at, (crop, vector) in enumerate(items)])
        for role in ROLES:
            gallery.accounts.create(role, PASSWORD, role, by=Actor("test"))
        gallery.accounts.create("doorman", PASSWORD, "operator", ["door"], by=Actor("test"))
    return top / "gallery"


@pytest.fixture
def gallery(filled, tmp_path):
    """The gallery, open, of the test's own."""
    with Gallery(shutil.copytree(filled, tmp_path / "gallery"), "cpu") as opened:
        yield opened


class Clients:
    """Clients of a service: `clients.admin` is logged in as admin, `clients.nobody` is not."""

    def __init__(self, app, stack):
        self._app, self._stack, self._known = app, stack, {}
        self.nobody = TestClient(app, BASE, follow_redirects=False)
        stack.enter_context(self.nobody)

    def __getattr__(self, name):
        if name not in self._known:
            client = TestClient(self._app, BASE, follow_redirects=False)
            answer = client.post("/login", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
            client.headers["X-CSRF-Token"] = token_of(client)
            self._known[name] = client
        return self._known[name]


def token_of(client) -> str:
    """Return the CSRF token that a page carries."""
    return client.get("/account").text.partition('data-csrf="')[2].partition('"')[0]


@pytest.fixture
def lines() -> list[str]:
    """The lines of the service's log."""
    return []


@pytest.fixture
def clients(gallery, lines):
    """Clients of the gallery's service."""
    app = build_app(gallery, users=True, limits=ServiceLimits(body=1.0, body_seconds=1.0), write=lines.append)
    with ExitStack() as stack:
        yield Clients(app, stack)
