"""Tensors of others: nothing in a file runs, and no small file takes long or much memory."""

import json
import pickle
import time
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rewho.core.check import UserError
from rewho.core.tensors import named_tensors, read_safetensors, read_torch, tensor_shapes


def header(content: dict[str, object] | bytes, data: bytes = b"") -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape: list[object], end: int = 4, kind: str = "F32") -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [0, end]}


SAFETENSORS = {
    "nothing": b"",
    "noise": b"\xff" * 100,
    "a huge header": (2**62).to_bytes(8, "little") + b"{}",
    "no JSON": header(b"{'a': 1}"),
    "a list": header(b"[]"),
    "deep": header(b"[" * 100_000),
    "many names": header({f"n{n}": entry([1]) for n in range(90_000)}, b"\0" * 4),
    "another type": header({"a": entry([1], kind="OBJECT")}, b"\0" * 4),
    "too large": header({"a": entry([2**40])}, b"\0" * 4),
    "overflowing": header({"a": entry([2**40, 2**40])}, b"\0" * 4),
    "negative": header({"a": entry([-1])}, b"\0" * 4),
    "text as shape": header({"a": entry(["1"])}, b"\0" * 4),
    "no shape": header({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, b"\0" * 4),
    "a number as entry": header({"a": 3}),
    "offsets behind the end": header({"a": entry([1], end=400)}, b"\0" * 4),
    "cut short": header({"a": entry([4], end=16)}, b"\0" * 8),
    "more than it says": header({"a": entry([1])}, b"\0" * 8),
}


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_bad_safetensors_are_refused_in_words_and_soon(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(SAFETENSORS[kind])
    began = time.process_time()
    with pytest.raises(UserError, match=r"model\.safetensors") as error:
        read_safetensors(path)
    assert time.process_time() - began < 2
    assert len(str(error.value)) < 600


def nested(levels: int) -> bytes:
    """Return a pickle of a mapping whose key is a tuple of tuples, each twice the one within it."""
    doubled = b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(levels))
    return b"\x80\x02})" + doubled + b"K\x01s."


def archive(path, content: bytes, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", b"3\n")


class Hostile:
    def __reduce__(self):
        return print, ("ran",)


def torch_files(path):
    """Yield the name of each way to be bad, once the file is written."""
    for name, content in {
        "nothing": b"",
        "noise": b"\x80\x02noise",
        "a word": b"word",
        "a plain pickle": pickle.dumps({"a": 1}),
        "a plain pickle that runs": pickle.dumps(Hostile()),
        "nested tuples": nested(60) * 4,
        "many instructions": b"\x80\x02" + b"N0" * 3_000_000 + b"N.",
    }.items():
        path.write_bytes(content)
        yield name
    for name, content, method in (
        ("nested tuples in an archive", nested(60), zipfile.ZIP_STORED),
        ("many instructions in an archive", b"\x80\x02" + b"N0" * 3_000_000 + b"N.", zipfile.ZIP_STORED),
        ("what unpacks to gigabytes", b"\x80\x02" + b"\0" * 300_000_000, zipfile.ZIP_DEFLATED),
        ("no pickle", b"word", zipfile.ZIP_STORED),
    ):
        archive(path, content, method)
        yield name
    whole = path.with_name("whole")
    for name, value in (("what runs", {"a": Hostile()}), ("numpy scalars", {"a": torch.ones(1), "b": np.float64(3)})):
        torch.save(value, path)
        yield name
        torch.save(value, path, _use_new_zipfile_serialization=False)
        yield f"{name}, in the older format"
    torch.save({"a": torch.ones(1000)}, whole)
    path.write_bytes(whole.read_bytes()[:-300])
    yield "cut short"
    torch.save({"a": torch.ones(1000)}, whole, _use_new_zipfile_serialization=False)
    path.write_bytes(whole.read_bytes()[:-300])
    yield "the older format cut short"


def test_bad_torch_files_are_refused_in_words_and_soon(tmp_path, capsys):
    path, names = tmp_path / "state.pt", []
    for name in torch_files(path):
        began = time.process_time()
        with pytest.raises(UserError, match=r"state\.pt") as error:
            read_torch(path)
        text = str(error.value)
        assert time.process_time() - began < 2, name
        assert "weights_only" not in text and "\x1b" not in text and len(text) < 700, name
        assert "numpy" not in name or "numpy scalars" in text
        names.append(name)
    assert len(names) == len(set(names)) >= 15 and "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("newer", [True, False])
def test_whole_files_come_back(tmp_path, newer):
    state = {"a": torch.arange(6.0).reshape(2, 3), "optimizer": {"state": {0: {"step": 3}}, "betas": (0.9, 0.999)}}
    torch.save(state, tmp_path / "state.pt", _use_new_zipfile_serialization=newer)
    found = read_torch(tmp_path / "state.pt")
    assert torch.equal(found["a"], state["a"]) and found["optimizer"] == state["optimizer"]
    save_file({"a": state["a"]}, tmp_path / "a.safetensors", {"format": "pt"})
    assert tensor_shapes(tmp_path / "a.safetensors") == {"a": (2, 3)}
    assert torch.equal(read_safetensors(tmp_path / "a.safetensors")["a"], state["a"])


def test_tensors_are_found_under_any_name():
    inner = {"w": torch.ones(1)}
    for name in ("model_state_dict", "state_dict", "net", "network", "teacher", "ema", "anything"):
        assert list(named_tensors({"epoch": 3, name: inner, "optimizer": {"a": inner}, "lr_scheduler": inner})) == ["w"]
    assert list(named_tensors({"checkpoint": {"state_dict": inner}})) == ["w"]
    assert set(named_tensors({"student": inner, "teacher": inner})) == {"student.w", "teacher.w"}
    assert set(named_tensors({"w": inner["w"], "net": inner})) == {"w", "net.w"}
    assert named_tensors(3) == named_tensors([inner]) == named_tensors({"a": 1}) == {}
