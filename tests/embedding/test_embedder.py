"""Embedding images: the same whatever the batch, the order, or where the images come from."""

import cv2
import numpy as np
import pytest
import torch

import rewho
from rewho.core.check import UserError
from rewho.data.table import ImageTable
from rewho.embedding.embedder import embedder
from rewho.embedding.images import prefetch
from rewho.embedding.scoring import similarities
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, save_model
from rewho.settings import EngineSettings, ModelSettings


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, SingleViewModel(ModelSettings(embedding=32), (64, 32)), ModelCard())
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(1)
    for number in range(7):
        pixels = cv2.resize(random.integers(0, 256, (8, 4, 3), dtype=np.uint8), (40 + number, 80 + number))
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return sorted(folder.iterdir())


def test_batches_and_order_do_not_matter(model_folder, images):
    model = rewho.load(model_folder)
    together = model.embed(images)
    for other in (
        model.embed(images, batch=2),
        model.embed(images[::-1])[::-1],
        np.concatenate([model.embed([one]) for one in images]),
    ):
        cosine = np.sum(together * other, axis=1) / np.linalg.norm(together, axis=1) / np.linalg.norm(other, axis=1)
        assert np.abs(1 - cosine).max() <= 1e-5
    assert np.array_equal(model.embed(images), together)
    assert together.shape == (7, 32) and together.dtype == np.float32


@pytest.fixture
def threads_put_back():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_put_back")
def test_threads_do_not_matter(model_folder, images):
    embeddings = []
    for threads in (1, 2, 4):
        model = rewho.load(model_folder, threads=threads)
        embeddings.append(model.embed(images))
        assert np.array_equal(model.embed(images), embeddings[-1])
    one, *others = [found.astype(np.float64) / np.linalg.norm(found, axis=1, keepdims=True) for found in embeddings]
    for other in others:
        assert np.abs(1 - np.sum(one * other, axis=1)).max() <= 1e-5


def test_files_and_arrays_are_embedded_alike(model_folder, images):
    model = rewho.load(model_folder)
    arrays = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in images]
    assert np.array_equal(model.embed([str(file) for file in images]), model.embed(arrays))


def test_flipping_averages_the_image_and_its_mirror_image(model_folder, images):
    model = rewho.load(model_folder)
    arrays = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in images]
    mirrored = [np.ascontiguousarray(array[:, ::-1]) for array in arrays]
    np.testing.assert_allclose(model.embed(arrays), model.embed(mirrored), atol=2e-2)
    plain = [model.embed(images, flip=False) for images in (arrays, mirrored)]
    assert not np.allclose(*plain, atol=2e-2)
    np.testing.assert_allclose(model.embed(arrays), (plain[0] + plain[1]) / 2, atol=2e-2)


def test_a_model_and_a_table_are_shown_on_one_line(model_folder):
    shown = repr(rewho.load(model_folder, "cpu"))
    backbone = ModelSettings().backbone
    begin = f"Embedder(single_view on {backbone}, 32 numbers an image, input 64 x 32, cpu"
    assert shown == f"{begin}, from {model_folder})"
    table = ImageTable("two", model_folder, ("a.jpg", "b.jpg"), [7, 9], [0, 1], ("query", "gallery"))
    assert repr(table) == "ImageTable('two': query 1 image of 1 person, gallery 1 image of 1 person)"


def test_progress_counts_every_image(model_folder, images):
    counts = []
    rewho.load(model_folder).embed(images, batch=3, done=counts.append)
    assert counts == [3, 3, 1]


def test_mistakes(model_folder, tmp_path):
    model = rewho.load(model_folder)
    with pytest.raises(UserError, match="at least one"):
        model.embed([])
    (tmp_path / "words.jpg").write_text("words")
    with pytest.raises(UserError, match=r"words\.jpg"):
        model.embed([tmp_path / "words.jpg"])
    with pytest.raises(UserError, match="uint8"):
        model.embed([np.zeros((4, 4, 3), np.float32)])


def test_an_error_in_the_thread_that_prepares_reaches_the_caller():
    def items():
        yield 1
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        list(prefetch(items()))


def test_comparing_and_searching(model_folder, images):
    assert rewho.compare(images[0], images[0], model_folder) == pytest.approx(1, abs=1e-5)
    assert rewho.compare(images[0], images[1], model_folder) == rewho.compare(
        images[1], images[0], rewho.load(model_folder)
    )
    found = rewho.search(images[3], images[0].parent, model_folder, count=3)
    assert found[0].path == images[3] and found[0].similarity == pytest.approx(1, abs=1e-5)
    assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)
    with pytest.raises(UserError, match="a whole number from 1"):
        rewho.search(images[3], images[0].parent, model_folder, count=0)


def test_similarity_is_that_of_directions():
    vectors = np.array([[1, 0], [3, 0], [0, 2], [-1, 0]], np.float32)
    np.testing.assert_allclose(similarities(vectors)[0], [1, 1, 0, -1], atol=1e-7)


def test_the_view_of_the_model_is_cut_out():
    model = embedder(SingleViewModel(ModelSettings(view="dn1", embedding=8), (64, 64)), EngineSettings(device="cpu"))
    image = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    other = image.copy()
    other[:90] = 0
    assert np.array_equal(model.embed([image]), model.embed([other]))
    other[100:] = 0
    assert not np.array_equal(model.embed([image]), model.embed([other]))


def test_all_damaged_images_of_a_batch_are_named(model_folder, tmp_path):
    files = [tmp_path / name for name in ("first.jpg", "second.jpg")]
    for file in files:
        file.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"2 of 2 .*first\.jpg.*second\.jpg"):
        rewho.load(model_folder).embed(files)
