"""Weights in every format: what comes back is what went in, and what does not fit is named."""

import dataclasses
import io
import json
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy
from etils import epath

from ns_jax.errors import UserError
from ns_jax.interop import formats
from ns_jax.interop.foreign import ForeignWeights, expected_shapes, to_artifact, to_foreign
from ns_jax.models.registry import ARCHITECTURES, get_architecture
from tests.interop.weights import assert_same, random_artifact, save_timm, write_tf

B0 = "efficientnet-b0"
ENDINGS = {"artifact": "", "timm": ".safetensors", "npz": ".npz", "tf": ""}


@pytest.mark.parametrize("name", ["artifact", "timm", "npz"])
def test_the_metadata_survives(tmp_path, name):
    artifact = random_artifact("efficientnet-b0-svhn", 3)
    metadata = artifact.metadata | {"class_names": ["cat", "dog", "eel"], "resolution": 40, "mean": [0.5, 0.4, 0.3]}
    path = epath.Path(tmp_path / f"weights{ENDINGS[name]}")
    formats.write(path, dataclasses.replace(artifact, metadata=metadata), name)
    again = formats.read(path)
    for field in ("variant", "class_names", "resolution", "crop_padding", "mean", "std"):
        assert np.array_equal(again.metadata[field], metadata[field]), field
    with pytest.raises(UserError, match="is efficientnet-b0-svhn, not efficientnet-b0"):
        formats.read(path, variant=B0)


def test_what_efficientnet_jax_reads(tmp_path):
    artifact = random_artifact("efficientnet-small", 3)
    formats.write(epath.Path(tmp_path / "x.npz"), artifact, "npz")
    file = np.load(tmp_path / "x.npz")  # as its load_state_dict does
    read = {str(name): file[str(i)] for i, name in enumerate(file["names"])}
    assert len(file["types"]) == len(read) == len(to_foreign(artifact, "npz"))
    for name, value in to_foreign(artifact, "npz").items():
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize(
    "target, name, words",
    [
        ("x.pth", None, "is not written, only artifact, timm"),
        ("x", "timm", "must end in .safetensors"),
        ("x", "keras", "is not written"),
        ("x.safetensors", "npz", "must end in .npz"),
        ("efficientnet_b0.safetensors", None, "symmetric padding"),
        ("efficientnet_lite0.safetensors", None, "symmetric padding"),
        ("pt_efficientnet_b0.npz", None, "symmetric padding"),
    ],
)
def test_targets_that_could_not_be_read_again(tmp_path, target, name, words):
    path = epath.Path(tmp_path / target)
    with pytest.raises(UserError, match=words):
        formats.write(path, random_artifact("efficientnet-small", 3), name or formats.format_of(path))
    assert not path.exists()


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("variant, classes", [(B0, 1000), ("efficientnet-small", 7)])
def test_round_trip(tmp_path, name, variant, classes):
    artifact = random_artifact(variant, classes)
    path = epath.Path(tmp_path / f"weights{ENDINGS[name]}")
    formats.write(path, artifact, name)
    again = formats.read(path)
    assert_same(artifact, again)
    for field in ("variant", "class_names", "resolution", "crop_padding", "mean", "std"):
        assert np.array_equal(again.metadata[field], artifact.metadata[field]), field
    formats.write(epath.Path(tmp_path / f"second{ENDINGS[name]}"), again, name)
    assert_same(artifact, formats.read(tmp_path / f"second{ENDINGS[name]}"))
    with pytest.raises(UserError, match="nothing is overwritten"):
        formats.write(path, artifact, name)


@pytest.mark.parametrize("scheme", ["timm", "npz", "tf", "efficientnet_pytorch"])
def test_every_weight_has_a_name_of_its_own(scheme):
    named = []
    for variant in ARCHITECTURES:
        known = get_architecture(variant).foreign_names(scheme)
        if known is None:
            continue
        named.append(variant)
        assert len({name.name for name in known.values()}) == len(known), variant
        if len(known) < 600:  # shapes of deeper ones take long
            assert known.keys() == expected_shapes(variant, 1000).keys()
    assert {"efficientnet-b0", "efficientnet-l2", "efficientnet-small"} <= set(named)
    assert "resnet-50" not in named


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet-b0",
        "efficientnet-b1",
        "efficientnet-b5",
        "efficientnet-l0",
        "efficientnet-l2",
        "efficientnet-lite0",
        "efficientnet-lite1",  # its blocks are as many as Lite2's
        "efficientnet-lite2",
        "efficientnet-lite4",
        "efficientnet-small",
    ],
)
def test_variants_are_recognised(name):
    known, shapes = get_architecture(name).foreign_names("timm"), expected_shapes(name, 10)
    blank = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    arrays = {known[key].name: known[key].from_ours(value) for key, value in blank.items()}
    foreign = ForeignWeights(
        "timm", {key: value.shape for key, value in arrays.items()}, arrays.__getitem__, "some.file"
    )
    smaller = dataclasses.replace(foreign, get=lambda key: np.zeros((1,) * arrays[key].ndim, np.float32))
    assert to_artifact(smaller).metadata["variant"] == name


@pytest.mark.parametrize(
    "change, words",
    [
        ({"head.extra": np.zeros(2, np.float32)}, ("surplus head.extra", "incomplete, or of a modified model")),
        ({"bn1.weight": np.zeros(7, np.float32)}, ("bn1.weight is (7,), not (32,)",)),
    ],
)
def test_wrong_tensors(tmp_path, change, words):
    save_timm(tmp_path / "x.safetensors", random_artifact(B0, 3), **change)
    with pytest.raises(UserError) as error:
        formats.read(tmp_path / "x.safetensors")
    assert all(word in str(error.value) for word in words), error.value


def test_wrong_variant(tmp_path):
    save_timm(tmp_path / "x.safetensors", random_artifact("efficientnet-b1", 3))
    with pytest.raises(UserError, match="look like another variant, efficientnet-b1"):
        formats.read(tmp_path / "x.safetensors", variant=B0)


@pytest.mark.parametrize(
    "name, whose", [("features.0.0.weight", "torchvision"), ("stem_conv.weight", r"keras\.applications")]
)
def test_other_namings_are_named(tmp_path, name, whose):
    safetensors.numpy.save_file({name: np.zeros(3, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=whose):
        formats.read(tmp_path / "x.safetensors")


def test_models_with_symmetric_padding_are_refused(tmp_path):
    save_timm(tmp_path / "efficientnet_b0_ra-3dd342df.safetensors", random_artifact(B0, 3))
    with pytest.raises(UserError, match="symmetric padding"):
        formats.read(tmp_path / "efficientnet_b0_ra-3dd342df.safetensors")
    for name in ("my-efficientnet_b0.safetensors", "efficientnet_b0.ra_in1k/model.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_timm(tmp_path / name, random_artifact(B0, 3))
        with pytest.raises(UserError, match="symmetric padding"):
            formats.read(tmp_path / name)
    formats.write(epath.Path(tmp_path / "fine.npz"), random_artifact(B0, 3), "npz")
    (tmp_path / "fine.npz").rename(tmp_path / "pt_efficientnet_b0.npz")
    assert formats.read(tmp_path / "pt_efficientnet_b0.npz").metadata["variant"] == B0  # it says whose it is
    arrays = dict(np.load(tmp_path / "pt_efficientnet_b0.npz"))
    del arrays["ns_jax"]
    np.savez(tmp_path / "pt_efficientnet_b0.npz", **arrays)
    with pytest.raises(UserError, match="symmetric padding"):
        formats.read(tmp_path / "pt_efficientnet_b0.npz")
    save_timm(tmp_path / "model.safetensors", random_artifact(B0, 3))
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "efficientnet_b0"}))
    with pytest.raises(UserError, match="tf_efficientnet"):
        formats.read(tmp_path / "model.safetensors")


@pytest.mark.parametrize("scheme", ["timm", "npz", "tf"])
@pytest.mark.parametrize(
    "where, mean",
    [
        ("tf_efficientnet_b0_ap-f262efe1.pth", 0.5),
        ("tf_efficientnet_b0.ap_in1k/model.safetensors", 0.5),
        ("advprop/efficientnet-b0", 0.5),
        ("adv-efficientnet-b0-b64d5a18.pth", 0.5),
        ("tf_efficientnet_b0_ap/x/y", 0.485),
        ("tf_efficientnet_b0.apt", 0.485),
    ],
)
def test_advprop_is_known_by_its_name(scheme, where, mean):
    arrays = to_foreign(random_artifact(B0, 3), scheme)
    foreign = ForeignWeights(scheme, {key: value.shape for key, value in arrays.items()}, arrays.__getitem__, where)
    assert to_artifact(foreign).metadata["mean"][0] == mean


@pytest.mark.parametrize("name", ["weights.bin2", "weights.safetensors", "weights.npz"])
def test_unknown_or_damaged_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing in particular")
    with pytest.raises(UserError) as error:
        formats.read(tmp_path / name)
    assert name in str(error.value) and ("TensorFlow checkpoint" in str(error.value) or "is not a" in str(error.value))


@pytest.mark.parametrize("content", [{"format": "layers-model"}, ["fingerprint"]])
def test_model_json_of_somebody_else(tmp_path, content):
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"model\.json was not written by this project"):
        formats.read(tmp_path)


def test_model_folder_without_its_metadata(tmp_path):
    formats.write(epath.Path(tmp_path / "model"), random_artifact("efficientnet-small", 3), "artifact")
    (tmp_path / "model" / "model.json").unlink()
    for path in (tmp_path / "model", tmp_path / "model" / "weights.safetensors"):
        with pytest.raises(UserError, match=r"whose model\.json is missing$"):
            formats.read(path)


def test_array_called_npz(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(UserError, match=r"is not an \.npz file of efficientnet-jax"):
        formats.read(tmp_path / "x.npz")


def test_nothing_there():
    with pytest.raises(UserError, match=r"there is no no/such/thing.*efficientnet-jax"):
        formats.read("no/such/thing")


@pytest.mark.parametrize("name", ["saved_model", "stablehlo"])
def test_programs(tmp_path, name):
    artifact = random_artifact("efficientnet-small", 7)
    path = epath.Path(tmp_path / "program")
    formats.write(path, artifact, name)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    want = np.asarray(jax.jit(formats.export.model_function(artifact.metadata))(artifact.variables, images))
    assert want.std() > 0.01
    for count in (1, 3):
        got = formats.PROGRAMS[name][1](path, images[:count])
        assert np.abs(got - want[:count]).max() <= 1e-4 * want.std()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, bool, np.complex64])
@pytest.mark.parametrize("name", ["x.safetensors", "x.npz", "x.tf"])
def test_weights_of_other_types_are_refused(tmp_path, dtype, name):
    artifact = random_artifact("efficientnet-small", 3)
    scheme = {"x.safetensors": "timm", "x.npz": "npz", "x.tf": "tf"}[name]
    arrays = to_foreign(artifact, scheme)
    changed = next(key for key, value in arrays.items() if value.ndim == 4)
    arrays[changed] = arrays[changed].astype(dtype)
    if scheme == "timm":
        safetensors.numpy.save_file(arrays, tmp_path / name)
    elif scheme == "npz":
        numbered = {str(index): value for index, value in enumerate(arrays.values())}
        np.savez(tmp_path / name, names=np.array(list(arrays)), types=np.array(["x"] * len(arrays)), **numbered)
    else:
        write_tf(tmp_path / name, arrays)
    with pytest.raises(UserError, match=f"{changed} is of type {np.dtype(dtype)}, and weights are floats"):
        formats.read(tmp_path / name, ema=False)


def test_half_precision_is_widened(tmp_path):
    artifact = random_artifact("efficientnet-small", 3)
    halves = {name: value.astype(np.float16) for name, value in to_foreign(artifact, "timm").items()}
    safetensors.numpy.save_file(halves, tmp_path / "x.safetensors")
    kernel = formats.read(tmp_path / "x.safetensors").variables["params"]["stem"]["kernel"]
    assert kernel.dtype == np.float32
    want = artifact.variables["params"]["stem"]["kernel"]
    np.testing.assert_array_equal(kernel, want.astype(np.float16).astype(np.float32))


def npz_contents(artifact) -> dict:
    arrays = to_foreign(artifact, "npz")
    numbered = {str(index): value for index, value in enumerate(arrays.values())}
    return numbered | {"names": np.array(list(arrays)), "types": np.array(["x"] * len(arrays))}


def test_arrays_of_an_npz_have_one_name_each(tmp_path):
    contents = npz_contents(random_artifact("efficientnet-small", 3))
    np.savez(tmp_path / "extra.npz", **contents, more=np.zeros(3))
    with pytest.raises(UserError, match="has 1 arrays without a name, first 'more'"):
        formats.read(tmp_path / "extra.npz")
    names = contents["names"].copy()
    names[1] = names[0]
    np.savez(tmp_path / "twice.npz", **contents | {"names": names})
    with pytest.raises(UserError, match=f"two arrays of the name {names[0]}"):
        formats.read(tmp_path / "twice.npz")


def test_an_npz_is_not_unpacked_before_its_shapes_fit(tmp_path, monkeypatch):
    contents = npz_contents(random_artifact("efficientnet-small", 3))
    contents["0"] = np.zeros((300, 1000, 100), np.float32)  # 120 MB that take 0.1 MB
    np.savez_compressed(tmp_path / "x.npz", **contents)
    read_header = np.lib.format.read_array
    largest = []
    monkeypatch.setattr(
        np.lib.format, "read_array", lambda *args, **kwargs: largest.append(read_header(*args, **kwargs)) or largest[-1]
    )
    with pytest.raises(UserError, match=r"is \(300, 1000, 100\), not"):
        formats.read(tmp_path / "x.npz")
    assert largest and max(array.size for array in largest) < 1000


def test_as_many_names_as_classes(tmp_path):
    save_timm(tmp_path / "model.safetensors", random_artifact("efficientnet-small", 3))
    (tmp_path / "config.json").write_text(json.dumps({"label_names": ["a", "b"]}))
    with pytest.raises(UserError, match="names 2 classes, and its weights have 3"):
        formats.read(tmp_path)


@pytest.mark.parametrize("name", ["timm", "npz"])
def test_embedded_metadata_is_checked(tmp_path, name):
    artifact = random_artifact("efficientnet-small", 3)
    broken = dataclasses.replace(artifact, metadata=artifact.metadata | {"std": [0.0, 0.0, 0.0]})
    path = epath.Path(tmp_path / f"x{ENDINGS[name]}")
    formats.write(path, broken, name)
    with pytest.raises(UserError, match=rf"the metadata in .*x{ENDINGS[name]}: std must be"):
        formats.read(path)


def test_embedded_metadata_chooses_no_code(tmp_path):
    artifact = random_artifact("efficientnet-small", 3)
    path = epath.Path(tmp_path / "x.safetensors")
    header = {"ns_jax": json.dumps(artifact.metadata | {"variant": "os:abort"})}
    safetensors.numpy.save_file(to_foreign(artifact, "timm"), path, metadata=header)
    with pytest.raises(UserError, match="is of the model os:abort, whose code runs when it is opened"):
        formats.read(path)


def test_odd_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    artifact = random_artifact("efficientnet-small", 3)
    state = {name: torch.from_numpy(value) for name, value in to_foreign(artifact, "timm").items()}
    name = "conv_stem.weight"

    def saved(**changes):
        torch.save(state | changes, tmp_path / "x.pth")
        return tmp_path / "x.pth"

    assert_same(formats.read(saved(**{name: torch.nn.Parameter(state[name])})), artifact)
    half = formats.read(saved(**{name: state[name].bfloat16()})).variables["params"]["stem"]["kernel"]
    np.testing.assert_allclose(half, artifact.variables["params"]["stem"]["kernel"], rtol=1e-2)
    for odd in (state[name].to_sparse(), state[name].to("meta")):
        with pytest.raises(UserError, match="sparse, quantised, nested or empty"):
            formats.read(saved(**{name: odd}))
    torch.save(state | {3: state[name]}, tmp_path / "y.pth")
    with pytest.raises(UserError, match="names a tensor 3"):
        formats.read(tmp_path / "y.pth")


def npz_file(path, names, shape, data: bytes) -> None:
    """An .npz file with one float32 array, whose header may say anything."""
    header, names_member = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    np.save(names_member, np.array(names))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names.npy", names_member.getvalue())
        archive.writestr("0.npy", header.getvalue() + data)


def test_an_npz_that_claims_more_than_it_holds_is_refused(tmp_path):
    npz_file(tmp_path / "w.npz", ["a"], (250_000_000_000,), bytes(8))
    with pytest.raises(UserError, match="w.npz is not an .npz file .*array 0 has 8 of 1000000000000 bytes"):
        formats.read(tmp_path / "w.npz")


def test_an_npz_with_names_that_fill_the_memory_is_refused(tmp_path):
    npz_file(tmp_path / "w.npz", np.zeros(17_000_000, "U1"), (1,), bytes(4))
    assert (tmp_path / "w.npz").stat().st_size < 100_000
    with pytest.raises(UserError, match="names is larger than 67108864 bytes"):
        formats.read(tmp_path / "w.npz")
