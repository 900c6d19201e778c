"""The reader of torch.save's files: both formats, and whatever is wrong with them."""

import collections
import os
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from etils import epath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ns_jax.errors import UserError
from ns_jax.interop.torch_file import MAGIC, PROTOCOL, STORAGES, Tensor, TorchFile
from tests.interop.torch_files import (
    MACHINE,
    WRITERS,
    Call,
    Global,
    Place,
    legacy_file,
    pickled,
    state_dict_file,
    tensor,
    whole,
    zip_file,
)

both_formats = pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
no_reset = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def opened(tmp_path, data: bytes) -> TorchFile:
    path = epath.Path(tmp_path / "x.pth")
    path.write_bytes(data)
    return TorchFile(path)


def refusal(tmp_path, data: bytes) -> str:
    """The message with which a file is refused: one line that names it."""
    with pytest.raises(UserError) as error:
        opened(tmp_path, data)
    message = str(error.value)
    assert "x.pth" in message and "\n" not in message and len(message) < len(str(tmp_path)) + 300
    return message


@both_formats
def test_every_dtype(tmp_path, writer):
    arrays = {name: np.arange(6).reshape(2, 3).astype(dtype) for name, dtype in STORAGES.items()}
    arrays |= {"scalar": np.array(7, np.int64), "empty": np.zeros((0, 4), np.float32)}
    file = opened(tmp_path, state_dict_file(arrays, writer))
    assert list(file.content) == list(arrays)
    for name, want in arrays.items():
        got = file.array(file.content[name])
        assert got.dtype == want.dtype == file.content[name].dtype
        np.testing.assert_array_equal(got, want)
    assert file.content["BFloat16Storage"].dtype == ml_dtypes.bfloat16


@both_formats
@no_reset
@given(data=st.data())
def test_views_of_one_storage(tmp_path, writer, data):
    """Any shape, strides and offset that stay inside of it, as NumPy sees them."""
    size = data.draw(st.integers(1, 60))
    storage = np.random.default_rng(size).normal(size=size).astype(np.float32)
    place, content, wanted = Place("0", storage.dtype, size), {}, {}
    for number in range(data.draw(st.integers(1, 3))):
        shape = data.draw(st.lists(st.integers(0, 4), max_size=3))
        strides = data.draw(st.lists(st.integers(0, 9), min_size=len(shape), max_size=len(shape)))
        reach = 0 if 0 in shape else sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        if reach >= size:
            continue
        offset = data.draw(st.integers(0, size - 1 - reach))
        content[f"view{number}"] = tensor(place, offset, shape, strides)
        wanted[f"view{number}"] = np.lib.stride_tricks.as_strided(storage[offset:], shape, [4 * s for s in strides])
    content["beyond"] = tensor(place, 0, (size,), (1,))
    file = opened(tmp_path, writer(content, {"0": storage}))
    for name, want in wanted.items():
        np.testing.assert_array_equal(file.array(file.content[name]), want)
    content["beyond"] = tensor(place, data.draw(st.integers(1, 2**40)), (size,), (1,))
    assert "UnpicklingError" in refusal(tmp_path, writer(content, {"0": storage}))


@both_formats
def test_what_a_training_checkpoint_holds_beside_tensors(tmp_path, writer):
    array = np.arange(4, dtype=np.float32)
    ordered = collections.OrderedDict(
        weight=Call(Global("torch._utils", "_rebuild_parameter"), whole("0", array), 1, {})
    )
    ordered._metadata = {"": {"version": 1}}  # of every state dict
    old = tensor(Place("0", array.dtype, 4), 2, (2,), (1,), "_rebuild_tensor")
    content = {
        "state_dict": ordered,
        "old": old,
        "args": Call(Global("argparse", "Namespace")),
        "size": Call(Global("torch", "Size"), (2, 3)),
        "epoch": 3,
    }
    file = opened(tmp_path, writer(content, {"0": array}))
    np.testing.assert_array_equal(file.array(file.content["state_dict"]["weight"]), array)
    np.testing.assert_array_equal(file.array(file.content["old"]), array[2:])
    assert (file.content["args"], file.content["size"], file.content["epoch"]) == ({}, (2, 3), 3)


@both_formats
@pytest.mark.parametrize(
    "module, name",
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("torch", "float32"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("torch.nn.modules.conv", "Conv2d"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_tensor_v3"),
    ],
)
def test_other_names_are_refused_and_not_called(tmp_path, writer, module, name):
    marker = tmp_path / "called"
    content = {"weight": whole("0", np.zeros(2, np.float32)), "x": Call(Global(module, name), f"touch {marker}")}
    message = refusal(tmp_path, writer(content, {"0": np.zeros(2, np.float32)}))
    assert f"holds more than tensors: it names {module}.{name}, which is not loaded" in message
    assert not marker.exists()


class Runs:
    """What an attacker's pickle looks like: it calls a function as it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_protocol_of_pickle_calls_a_function(tmp_path, protocol):
    head = [pickle.dumps(part, protocol=2) for part in (MAGIC, PROTOCOL, MACHINE)]
    bad = pickle.dumps(Runs(tmp_path / "called"), protocol=protocol)
    assert "posix.mkdir" in refusal(tmp_path, b"".join([*head, bad]))
    assert "posix.mkdir" in refusal(tmp_path, zip_file({}, {}, **{"data.pkl": bad}))
    assert "posix.mkdir" in refusal(tmp_path, bad + b"." * 100)  # in the place of the magic number
    assert not (tmp_path / "called").exists()


@both_formats
@pytest.mark.parametrize("function", ["_rebuild_sparse_tensor", "_rebuild_qtensor", "_rebuild_meta_tensor_no_storage"])
def test_tensors_that_are_not_dense(tmp_path, writer, function):
    content = {"weight": Call(Global("torch._utils", function), 1)}
    assert "sparse, quantised, nested or empty (meta) tensors" in refusal(tmp_path, writer(content, {}))


def test_a_pickle_cannot_change_a_tensor_after_it_was_checked(tmp_path):
    """BUILD sets attributes of the object before it: here those that would reach beyond the storage."""
    array = np.zeros(2, np.float32)
    good = pickled(whole("0", array), False)
    assert opened(tmp_path, zip_file({}, {"0": array}, **{"data.pkl": good})).content.shape == (2,)
    for state in ({"offset": 10**6}, (None, {"offset": 10**6})):
        changed = good[:-1] + pickle.dumps(state, protocol=2)[2:-1] + pickle.BUILD + pickle.STOP
        refusal(tmp_path, zip_file({}, {"0": array}, **{"data.pkl": changed}))


@both_formats
def test_a_tensor_is_not_larger_than_its_storage(tmp_path, writer):
    array = np.zeros(6, np.float32)
    for offset, shape, strides in (
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (0, (2, 2), (5, 1)),
        (0, (2**61, 2), (2, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2,), (1, 1)),
        (0, (2.0,), (1,)),
    ):
        content = {"weight": tensor(Place("0", array.dtype, 6), offset, shape, strides)}
        assert "UnpicklingError" in refusal(tmp_path, writer(content, {"0": array}))
    content["weight"] = Call(Global("torch._utils", "_rebuild_tensor"), (Global("torch", "Size"), 0), 0, (2,), (1,))
    assert "UnpicklingError" in refusal(tmp_path, writer(content, {}))


@both_formats
def test_sizes_are_compared_with_the_file(tmp_path, writer):
    """Nothing is set aside for what the file does not have."""
    small = np.zeros(6, np.float32)
    for length in (7, 10**15, 2**61):
        content = {"weight": tensor(Place("0", small.dtype, length), 0, (length,), (1,))}
        assert "is damaged" in (message := refusal(tmp_path, writer(content, {"0": small}))) or "cut short" in message
    twice = {"a": whole("0", small), "b": tensor(Place("0", np.dtype(np.int16), 12), 0, (12,), (1,))}
    refusal(tmp_path, writer(twice, {"0": small}))
    refusal(tmp_path, writer({"a": whole("1", small)}, {"0": small}))


@both_formats
@no_reset
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_short(tmp_path, writer, share):
    arrays = {"a": np.arange(50, dtype=np.float32), "b": np.arange(70, dtype=np.int64)}
    data = state_dict_file(arrays, writer)
    refusal(tmp_path, data[: int(share * len(data))])


def test_a_file_that_is_cut_short_says_so(tmp_path):
    arrays = {"a": np.arange(5000, dtype=np.float32)}
    for writer in WRITERS.values():
        data = state_dict_file(arrays, writer)
        assert "is cut short" in refusal(tmp_path, data[: len(data) // 2])


@both_formats
@no_reset
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_harmless(tmp_path, writer, place, value):
    arrays = {"a": np.arange(12, dtype=np.float32), "b": np.arange(9, dtype=np.int64).reshape(3, 3)}
    data = bytearray(state_dict_file(arrays, writer))
    data[int(place * len(data))] = value
    try:
        file = opened(tmp_path, bytes(data))
        for leaf in file.content.values() if isinstance(file.content, dict) else ():
            if isinstance(leaf, Tensor):
                file.array(leaf)
    except UserError as error:
        assert "x.pth" in str(error) and "\n" not in str(error)


def test_damage_inside_a_zip_is_noticed(tmp_path):
    array = np.arange(500, dtype=np.float32)
    data = bytearray(state_dict_file({"a": array}, zip_file))
    data[data.index(array[250:260].tobytes())] ^= 1
    file = opened(tmp_path, bytes(data))
    with pytest.raises(UserError, match=r"x\.pth is damaged \(Bad CRC"):
        file.array(file.content["a"])


def test_other_archives_and_machines(tmp_path):
    array = {"0": np.zeros(3, np.float32)}
    content = {"a": whole("0", array["0"])}
    assert "big-endian" in refusal(tmp_path, zip_file(content, array, byteorder=b"big"))
    machine = pickled(MACHINE | {"little_endian": False}, True)
    assert "big-endian" in refusal(tmp_path, legacy_file(content, array).replace(pickled(MACHINE, True), machine))
    assert "compressed" in refusal(tmp_path, zip_file(content, array, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    assert "not one of torch.save" in refusal(tmp_path, (tmp_path / "other.zip").read_bytes())
    assert "not a file of torch.save" in refusal(tmp_path, pickle.dumps({"a": 1}, protocol=2))
    version = pickle.dumps(PROTOCOL, protocol=2)
    other = legacy_file(content, array).replace(version, pickle.dumps(PROTOCOL + 1, protocol=2), 1)
    assert "has version 1002" in refusal(tmp_path, other)
    longer = legacy_file(content, array).replace(struct.pack("<q", 3), struct.pack("<q", 2))
    assert "has not the size that its tensors name" in refusal(tmp_path, longer)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_what_pytorch_writes(tmp_path, is_zip):
    """The same tensors as PyTorch reads: of every dtype, views, shared, parameters, and a module's state dict."""
    torch = pytest.importorskip("torch")
    flat = torch.arange(60.0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(2, 2))
    content = {
        "whole": flat,
        "view": flat[7:55].reshape(6, 8).T[::2],
        "expanded": flat[3:4].expand(5, 1),
        "parameter": torch.nn.Parameter(flat[:3].clone()),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "state": layers.state_dict(),
        "list": [torch.ones(2), (1, "text", None)],
    }
    for dtype in ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"):
        content[dtype] = torch.arange(5).to(getattr(torch, dtype))
    path = epath.Path(tmp_path / "x.pth")
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    file = TorchFile(path)

    def compare(got, want):
        if isinstance(want, torch.Tensor):
            assert str(got.dtype) == str(want.dtype).removeprefix("torch.")
            want = want.detach().to(torch.float32 if want.dtype == torch.bfloat16 else want.dtype).numpy()
            np.testing.assert_array_equal(file.array(got).astype(want.dtype), want)
        elif isinstance(want, dict):
            assert list(got) == list(want)
            for key in want:
                compare(got[key], want[key])
        elif isinstance(want, list | tuple):
            for mine, theirs in zip(got, want, strict=True):
                compare(mine, theirs)
        else:
            assert got == want

    compare(file.content, torch.load(path, weights_only=True))
    torch.save(layers, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(UserError, match=r"it names torch\.nn\.modules\.container\.Sequential"):
        TorchFile(path)
