"""State dicts of timm and of efficientnet_pytorch, and the hub's configs."""

import argparse
import collections
import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

from ns_jax.errors import UserError
from ns_jax.interop import formats
from ns_jax.interop.foreign import ForeignWeights, expected_shapes, to_artifact, to_foreign
from ns_jax.models.registry import get_architecture
from tests.interop.torch_files import WRITERS, Call, Global, legacy_file, state_dict_file, whole
from tests.interop.weights import assert_same, random_artifact, save_timm

B0 = "efficientnet-b0"


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


def test_a_name_with_and_without_its_prefix(tmp_path):
    artifact = random_artifact("efficientnet-small", 3)
    save_timm(tmp_path / "x.safetensors", artifact, **{"module.bn1.weight": np.zeros(16, np.float32)})
    with pytest.raises(UserError, match=r"has both bn1\.weight and module\.bn1\.weight"):
        formats.read(tmp_path / "x.safetensors")
    prefixed = {f"module.{name}": value for name, value in to_foreign(artifact, "timm").items()}
    safetensors.numpy.save_file(prefixed, tmp_path / "y.safetensors")
    assert_same(formats.read(tmp_path / "y.safetensors"), artifact)


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
