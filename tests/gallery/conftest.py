"""A tiny model, and an empty gallery of it, for all tests of galleries; each runs on both stores."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from rewho.gallery.gallery import Gallery
from small_gallery import TERMS, Clock, make_model, move_to


@pytest.fixture(autouse=True, params=["sqlite", pytest.param("milvus", marks=pytest.mark.slow)])
def store(request, monkeypatch, tmp_path_factory) -> str:
    """Where the galleries of a test search: in memory, or in a file of Milvus Lite of the test's own."""
    if request.param == "sqlite":
        return request.param
    if find_spec("pymilvus") is None or find_spec("milvus_lite") is None:
        pytest.skip("pymilvus and milvus-lite are not installed")
    name = f"milvus:{tmp_path_factory.mktemp('milvus') / 'vectors.db'}"
    monkeypatch.setitem(Gallery.create.__func__.__kwdefaults__, "store", name)
    return name


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def template(tiny_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("empty") / "gallery"
    Gallery.create(folder, tiny_model, terms=TERMS, store="sqlite", clock=Clock()).close()
    return folder


@pytest.fixture
def empty_gallery(template, store, tmp_path_factory) -> Path:
    """A gallery without anything in it, to be copied."""
    if store == "sqlite":
        return template
    folder = Path(shutil.copytree(template, tmp_path_factory.mktemp("empty") / "gallery"))
    move_to(folder, store)
    return folder


@pytest.fixture
def gallery_folder(empty_gallery, tmp_path) -> Path:
    """The folder of an empty gallery of the test's own."""
    return Path(shutil.copytree(empty_gallery, tmp_path / "gallery"))
