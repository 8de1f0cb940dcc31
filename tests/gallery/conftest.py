"""A tiny model, and an empty gallery of it, for all tests of galleries."""

import shutil
from pathlib import Path

import pytest

from rewho.gallery.gallery import Gallery
from small_gallery import TERMS, Clock, make_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def empty_gallery(tiny_model, tmp_path_factory) -> Path:
    """A gallery without anything in it, to be copied."""
    folder = tmp_path_factory.mktemp("empty") / "gallery"
    Gallery.create(folder, tiny_model, terms=TERMS, clock=Clock()).close()
    return folder


@pytest.fixture
def gallery_folder(empty_gallery, tmp_path) -> Path:
    """The folder of an empty gallery of the test's own."""
    return Path(shutil.copytree(empty_gallery, tmp_path / "gallery"))
