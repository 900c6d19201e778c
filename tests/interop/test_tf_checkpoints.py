"""Official TensorFlow checkpoints."""

import collections

import numpy as np
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.interop import formats
from ns_jax.interop.foreign import to_foreign
from ns_jax.models.registry import get_architecture
from tests.interop.weights import assert_same, random_artifact, save_timm, write_tf

B0 = "efficientnet-b0"


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


def test_both_kinds_of_batch_norm_in_a_checkpoint(tmp_path):
    arrays = to_foreign(random_artifact("efficientnet-small", 3), "tf")
    arrays["stem/batch_normalization/gamma"] = arrays["stem/tpu_batch_normalization/gamma"]
    write_tf(tmp_path / "x", arrays)
    with pytest.raises(UserError, match="has both stem/.*which of them is meant"):
        formats.read(tmp_path / "x", ema=False)


def test_a_checkpoint_file_that_is_no_text(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"\xff\xfe\x00nothing")
    with pytest.raises(UserError, match="is of no known format"):
        formats.read(tmp_path)
