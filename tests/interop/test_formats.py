"""Weights in every format: what comes back is what went in, and what does not fit is named."""

import argparse
import collections
import dataclasses
import json

import jax
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from etils import epath
from flax.traverse_util import flatten_dict

from ns_jax.errors import UserError
from ns_jax.interop import formats
from ns_jax.interop.foreign import ForeignWeights, expected_shapes, to_artifact, to_foreign
from ns_jax.models.registry import ARCHITECTURES, get_architecture
from tests.interop.torch_files import WRITERS, Call, Global, legacy_file, state_dict_file, whole
from tests.interop.weights import random_artifact

B0 = "efficientnet-b0"
ENDINGS = {"artifact": "", "timm": ".safetensors", "npz": ".npz", "tf": ""}


def assert_same(first, second):
    first, second = flatten_dict(first.variables, sep="/"), flatten_dict(second.variables, sep="/")
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


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


def official_names(architecture) -> set[str]:
    """As the official code names its variables: Keras counts layers of a class within each block."""
    result = set()

    def weights(scope, *leaves):
        result.update(f"{scope}/{leaf}" for leaf in leaves)

    norm_leaves = ("gamma", "beta", "moving_mean", "moving_variance")
    for scope in ("stem", "head"):
        weights(f"{scope}/conv2d", "kernel")
        weights(f"{scope}/tpu_batch_normalization", *norm_leaves)
    weights("head/dense", "kernel", "bias")
    blocks = []
    for group, repeats in zip(architecture.groups, architecture.repeats, strict=True):
        blocks += [group.expand] * repeats
    for index, expand in enumerate(blocks):
        used = collections.Counter()

        def unique(name, used=used, index=index):
            used[name] += 1
            return f"blocks_{index}/{name}" + (f"_{used[name] - 1}" if used[name] > 1 else "")

        if expand != 1:
            weights(unique("conv2d"), "kernel")
            weights(unique("tpu_batch_normalization"), *norm_leaves)
        weights(unique("depthwise_conv2d"), "depthwise_kernel")
        weights(unique("tpu_batch_normalization"), *norm_leaves)
        if architecture.squeeze_excite:
            weights(f"blocks_{index}/se/conv2d", "kernel", "bias")
            weights(f"blocks_{index}/se/conv2d_1", "kernel", "bias")
        weights(unique("conv2d"), "kernel")
        weights(unique("tpu_batch_normalization"), *norm_leaves)
    return result


@pytest.mark.parametrize("name", [B0, "efficientnet-l2", "efficientnet-lite4"])
def test_every_official_name_is_accounted_for(name):
    architecture = get_architecture(name)
    assert {name.name for name in architecture.foreign_names("tf").values()} == official_names(architecture)


def write_tf(prefix, arrays: dict) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )


@pytest.fixture(scope="module")
def official_checkpoint():
    """(raw artifact, EMA artifact, {official variable: value} of both and of what training adds)."""
    raw, ema = random_artifact(B0, seed=1), random_artifact(B0, seed=2)
    variables = {}
    for name, value in to_foreign(raw, "tf").items():
        variables[f"{B0}/{name}"] = value
        if "moving" not in name:
            variables |= {f"{B0}/{name}/RMSProp": value, f"{B0}/{name}/RMSProp_1": value}
    variables |= {f"{B0}/{name}/ExponentialMovingAverage": value for name, value in to_foreign(ema, "tf").items()}
    return raw, ema, variables | {"global_step": np.int64(7)}


def test_official_checkpoint_gives_its_moving_averages(tmp_path, official_checkpoint):
    raw, ema, variables = official_checkpoint
    write_tf(tmp_path / "model.ckpt-7", variables)
    for path in (tmp_path, tmp_path / "model.ckpt-7"):
        assert_same(formats.read(path), ema)
        assert_same(formats.read(path, ema=False), raw)


def test_checkpoint_trained_on_gpus(tmp_path, official_checkpoint):
    _, ema, variables = official_checkpoint
    write_tf(tmp_path / "gpu", {name.replace("tpu_batch", "batch"): value for name, value in variables.items()})
    assert_same(formats.read(tmp_path / "gpu"), ema)


def test_checkpoint_without_moving_averages(tmp_path, official_checkpoint):
    raw, _, variables = official_checkpoint
    write_tf(tmp_path / "raw", {name: value for name, value in variables.items() if "Exponential" not in name})
    with pytest.raises(UserError, match=r"no moving averages.*ema=False"):
        formats.read(tmp_path / "raw")
    assert_same(formats.read(tmp_path / "raw", ema=False), raw)


def test_all_that_is_wrong_is_listed(tmp_path, official_checkpoint):
    variables = dict(official_checkpoint[2])
    del variables[f"{B0}/stem/conv2d/kernel/ExponentialMovingAverage"]
    variables[f"{B0}/blocks_3/extra/ExponentialMovingAverage"] = np.zeros(3, np.float32)
    variables[f"{B0}/head/conv2d/kernel/ExponentialMovingAverage"] = np.zeros((1, 1, 2, 2), np.float32)
    write_tf(tmp_path / "wrong", variables)
    with pytest.raises(UserError) as error:
        formats.read(tmp_path / "wrong")
    for words in (
        "missing stem/conv2d/kernel",
        "stem/conv2d/kernel (which has no moving average)",
        "surplus blocks_3/extra",
        "head/conv2d/kernel is (1, 1, 2, 2), not (1, 1, 320, 1280)",
    ):
        assert words in str(error.value)


def save_timm(path, artifact, **changes):
    safetensors.numpy.save_file(to_foreign(artifact, "timm") | changes, path)


def test_timm_and_official_names_lead_to_the_same(tmp_path):
    artifact = random_artifact("efficientnet-b1", 5)
    save_timm(tmp_path / "b1.safetensors", artifact)
    write_tf(
        tmp_path / "b1",
        {
            f"efficientnet-b1/{name}/ExponentialMovingAverage": value
            for name, value in to_foreign(artifact, "tf").items()
        },
    )
    assert_same(formats.read(tmp_path / "b1.safetensors"), formats.read(tmp_path / "b1"))


def test_pth(tmp_path):
    torch = pytest.importorskip("torch")
    raw, ema = (random_artifact("efficientnet-small", 5, seed) for seed in (1, 2))
    states = [
        {name: torch.from_numpy(value) for name, value in to_foreign(artifact, "timm").items()}
        for artifact in (raw, ema)
    ]
    torch.save(states[0], tmp_path / "plain.pth")
    assert_same(formats.read(tmp_path / "plain.pth"), raw)
    in_parallel = {f"module.{name}": value for name, value in states[0].items()}
    # What timm's CheckpointSaver writes, and how it calls it.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    args = argparse.Namespace(
        model="tf_efficientnet_b0", lr=0.1, epochs=3, mean=None, crop_pct=0.875, opt_betas=[0.9, 0.99]
    )
    training = {
        "epoch": 3,
        "arch": args.model,
        "optimizer": optimizer.state_dict(),
        "version": 2,
        "args": args,
        "metric": 71.5,
        "saver": {"checkpoint_files": [("checkpoint-2.pth.tar", 70.25)], "best_epoch": 3, "pending": (3, 71.5)},
        "state_dict": collections.OrderedDict(in_parallel),
        "state_dict_ema": collections.OrderedDict(states[1]),
    }
    path = tmp_path / "20260101-efficientnet_b0-224" / "model_best.pth.tar"
    path.parent.mkdir()
    torch.save(training, path)
    assert_same(formats.read(path), ema)
    assert_same(formats.read(path, ema=False), raw)
    torch.save(training | {"arch": "efficientnet_b0"}, tmp_path / "symmetric.pth.tar")
    with pytest.raises(UserError, match="symmetric padding"):
        formats.read(tmp_path / "symmetric.pth.tar")
    torch.save({"state_dict": in_parallel}, tmp_path / "raw.pth")
    with pytest.raises(UserError, match="without EMA"):
        formats.read(tmp_path / "raw.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="is not a PyTorch state dict"):
        formats.read(tmp_path / "list.pth")


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_pth_without_pytorch(tmp_path, writer):
    """Plain, and as timm's training keeps it, beside things that are no tensors."""
    raw, ema = (to_foreign(random_artifact("efficientnet-small", 5, seed), "timm") for seed in (1, 2))
    (tmp_path / "plain.pth").write_bytes(state_dict_file(raw, writer))
    assert_same(formats.read(tmp_path / "plain.pth"), random_artifact("efficientnet-small", 5, 1))
    content, storages = {"epoch": 3, "args": Call(Global("argparse", "Namespace")), "arch": "tf_efficientnet_b0"}, {}
    for part, arrays in (("state_dict", raw), ("state_dict_ema", ema)):
        content[part] = collections.OrderedDict()
        for name, array in arrays.items():
            key = str(len(storages))
            content[part][f"module.{name}"] = whole(key, array)
            storages[key] = array
    (tmp_path / "training.pth.tar").write_bytes(writer(content, storages))
    assert_same(formats.read(tmp_path / "training.pth.tar"), random_artifact("efficientnet-small", 5, 2))
    assert_same(formats.read(tmp_path / "training.pth.tar", ema=False), random_artifact("efficientnet-small", 5, 1))


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-b1"])
def test_names_of_efficientnet_pytorch(tmp_path, name):
    artifact = random_artifact(name, 3)
    arrays = to_foreign(artifact, "efficientnet_pytorch")
    assert {"_conv_stem.weight", "_blocks.0._bn1.running_var", "_blocks.15._bn0.bias", "_fc.bias"} <= arrays.keys()
    assert ("_blocks.0._se_reduce.bias" in arrays) == (name == "efficientnet-b1")
    counters = {"_bn0.num_batches_tracked": np.array(7, np.int64)}
    (tmp_path / "x.pth").write_bytes(state_dict_file(arrays | counters, legacy_file))
    again = formats.read(tmp_path / "x.pth")
    assert again.metadata["variant"] == name
    assert_same(again, artifact)
    odd = arrays | {"_blocks.3._se_expand.extra": np.zeros(3, np.float32)}
    del odd["_bn1.bias"]
    (tmp_path / "odd.pth").write_bytes(state_dict_file(odd, legacy_file))
    with pytest.raises(
        UserError, match=rf"do not fit {name}: .*missing _bn1\.bias.*surplus _blocks\.3\._se_expand\.extra"
    ):
        formats.read(tmp_path / "odd.pth")


def test_timm_layout(tmp_path):
    arrays = to_foreign(random_artifact(B0), "timm")
    assert arrays["conv_stem.weight"].shape == (32, 3, 3, 3)
    assert arrays["blocks.1.0.conv_dw.weight"].shape == (96, 1, 3, 3)
    assert arrays["blocks.1.0.se.conv_reduce.weight"].shape == (4, 96, 1, 1)
    assert arrays["classifier.weight"].shape == (1000, 1280)


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


def test_config_of_the_hub_is_believed(tmp_path):
    save_timm(tmp_path / "model.safetensors", random_artifact(B0, 3))
    config = {
        "architecture": "tf_efficientnet_b0",
        "num_classes": 3,
        "pretrained_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "input_size": [3, 192, 192],
            "interpolation": "bicubic",
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    metadata = formats.read(tmp_path).metadata
    assert (metadata["mean"], metadata["std"], metadata["resolution"]) == ((0.5,) * 3, (0.25,) * 3, 192)
    assert metadata["interpolation"] == "bicubic"
    config["pretrained_cfg"]["interpolation"] = "bilinear"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert formats.read(tmp_path).metadata["interpolation"] == "bilinear"


def test_l2_of_475_pixels_is_known_by_its_name():
    shapes = expected_shapes("efficientnet-l2", 1000)
    known = get_architecture("efficientnet-l2").foreign_names("timm")
    arrays = {
        known[key].name: known[key].from_ours(np.broadcast_to(np.float32(0), shape)) for key, shape in shapes.items()
    }
    foreign = ForeignWeights(
        "timm",
        {key: value.shape for key, value in arrays.items()},
        lambda key: np.zeros((1,) * arrays[key].ndim, np.float32),
        "tf_efficientnet_l2_ns_475-bebbd00a.pth",
    )
    assert to_artifact(foreign).metadata["resolution"] == 475
    assert (
        to_artifact(dataclasses.replace(foreign, where="tf_efficientnet_l2_ns-df73bb44.pth")).metadata["resolution"]
        == 800
    )


@pytest.mark.parametrize("name", ["weights.bin2", "weights.safetensors", "weights.npz"])
def test_unknown_or_damaged_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing in particular")
    with pytest.raises(UserError) as error:
        formats.read(tmp_path / name)
    assert name in str(error.value) and ("TensorFlow checkpoint" in str(error.value) or "is not a" in str(error.value))


def test_damaged_tensorflow_checkpoint(tmp_path):
    formats.write(epath.Path(tmp_path / "whole"), random_artifact("efficientnet-small", 3), "tf")
    (data,) = (tmp_path / "whole").glob("*.data-*")
    content = data.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (content[: len(content) // 2], bytes(flipped), None):
        data.write_bytes(damaged) if damaged else data.unlink()
        with pytest.raises(UserError, match="is not a readable TensorFlow checkpoint"):
            formats.read(tmp_path / "whole")


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


def test_a_name_with_and_without_its_prefix(tmp_path):
    artifact = random_artifact("efficientnet-small", 3)
    save_timm(tmp_path / "x.safetensors", artifact, **{"module.bn1.weight": np.zeros(16, np.float32)})
    with pytest.raises(UserError, match=r"has both bn1\.weight and module\.bn1\.weight"):
        formats.read(tmp_path / "x.safetensors")
    prefixed = {f"module.{name}": value for name, value in to_foreign(artifact, "timm").items()}
    safetensors.numpy.save_file(prefixed, tmp_path / "y.safetensors")
    assert_same(formats.read(tmp_path / "y.safetensors"), artifact)


def test_both_kinds_of_batch_norm_in_a_checkpoint(tmp_path):
    arrays = to_foreign(random_artifact("efficientnet-small", 3), "tf")
    arrays["stem/batch_normalization/gamma"] = arrays["stem/tpu_batch_normalization/gamma"]
    write_tf(tmp_path / "x", arrays)
    with pytest.raises(UserError, match="has both stem/.*which of them is meant"):
        formats.read(tmp_path / "x", ema=False)


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


@pytest.mark.parametrize(
    "change, words",
    [
        ({"mean": [0.5, 0.5, float("nan")]}, "mean must be 3 finite numbers"),
        ({"std": [0.5, 0.5, 0.0]}, "std must be 3 finite numbers above 0"),
        ({"std": 1}, "std must be 3"),
        ({"input_size": [3, 0, 0]}, "resolution must be a whole number of pixels"),
        ({"input_size": None}, "resolution must be"),
        ({"interpolation": "nearest"}, "interpolation must be bicubic or bilinear"),
    ],
)
def test_config_of_the_hub_is_checked(tmp_path, change, words):
    save_timm(tmp_path / "model.safetensors", random_artifact("efficientnet-small", 3))
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "x", "pretrained_cfg": change}))
    with pytest.raises(UserError, match=rf"config\.json: {words}"):
        formats.read(tmp_path)


@pytest.mark.parametrize("config", [[], 3, {"pretrained_cfg": []}, {"architecture": 3}])
def test_another_config_is_not_one_of_the_hub(tmp_path, config):
    save_timm(tmp_path / "model.safetensors", random_artifact("efficientnet-small", 3))
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.json is not a config\.json of the Hugging Face hub"):
        formats.read(tmp_path)


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


def test_a_checkpoint_file_that_is_no_text(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"\xff\xfe\x00nothing")
    with pytest.raises(UserError, match="is of no known format"):
        formats.read(tmp_path)


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
