"""What each weight of an EfficientNet is called elsewhere, and how its array is laid out there.

Schemes: 'tf' (official TensorFlow checkpoints), 'timm' (PyTorch state dicts of timm's
tf_efficientnet_*), 'npz' (efficientnet-jax, which keeps PyTorch's layout).
Keys of this project are paths as in 'params/blocks_3/expand/kernel'.
"""

import dataclasses

import numpy as np

from ns_jax.models.variants import EfficientNetVariant

LEAVES = {  # kind of layer -> {ours: (tf, torch)}
    "conv": {"params/kernel": ("kernel", "weight")},
    "depthwise": {"params/kernel": ("depthwise_kernel", "weight")},
    "conv_bias": {"params/kernel": ("kernel", "weight"), "params/bias": ("bias", "bias")},
    "dense": {"params/kernel": ("kernel", "weight"), "params/bias": ("bias", "bias")},
    "bn": {
        "params/scale": ("gamma", "weight"),
        "params/bias": ("beta", "bias"),
        "batch_stats/mean": ("moving_mean", "running_mean"),
        "batch_stats/var": ("moving_variance", "running_var"),
    },
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of ours and its name in each scheme."""

    ours: str
    kind: str
    tf: str
    timm: str
    npz: str


def _block_layers(index: int, timm: str, expands: bool) -> list[Layer]:
    ours, tf, npz = f"blocks_{index}", f"blocks_{index}", timm
    # Keras numbers the layers of one class within a block: the first has no number.
    convs = iter(["conv2d", "conv2d_1"])
    norms = iter(["tpu_batch_normalization", "tpu_batch_normalization_1", "tpu_batch_normalization_2"])
    torch_norms = iter(["bn1", "bn2", "bn3"])
    layers = []

    def conv(name, timm_name, bn_npz):
        layers.append(
            Layer(
                f"{ours}/{name}",
                "conv",
                f"{tf}/{next(convs)}",
                f"{timm}.{timm_name}",
                f"{npz}.{'conv_exp' if name == 'expand' else timm_name}",
            )
        )
        norm(f"{name}_bn", bn_npz)

    def norm(name, bn_npz):
        layers.append(
            Layer(f"{ours}/{name}", "bn", f"{tf}/{next(norms)}", f"{timm}.{next(torch_norms)}", f"{npz}.{bn_npz}")
        )

    if expands:
        conv("expand", "conv_pw", "bn_exp")
    layers.append(
        Layer(f"{ours}/depthwise", "depthwise", f"{tf}/depthwise_conv2d", f"{timm}.conv_dw", f"{npz}.conv_dw")
    )
    norm("depthwise_bn", "bn_dw")
    layers.append(
        Layer(f"{ours}/se/reduce", "conv_bias", f"{tf}/se/conv2d", f"{timm}.se.conv_reduce", f"{npz}.se.reduce")
    )
    layers.append(
        Layer(f"{ours}/se/expand", "conv_bias", f"{tf}/se/conv2d_1", f"{timm}.se.conv_expand", f"{npz}.se.expand")
    )
    conv("project", *(("conv_pwl", "bn_pwl") if expands else ("conv_pw", "bn_pw")))
    return layers


def layers(row: EfficientNetVariant) -> list[Layer]:
    """All layers with weights, from the stem to the classifier."""
    found = [
        Layer("stem", "conv", "stem/conv2d", "conv_stem", "stem.conv"),
        Layer("stem_bn", "bn", "stem/tpu_batch_normalization", "bn1", "stem.bn"),
    ]
    index = 0
    for number, stage in enumerate(row.stages):
        for repeat in range(row.round_repeats(stage.repeats)):
            found += _block_layers(index, f"blocks.{number}.{repeat}", stage.expand != 1)
            index += 1
    return [
        *found,
        Layer("head", "conv", "head/conv2d", "conv_head", "head.conv_pw"),
        Layer("head_bn", "bn", "head/tpu_batch_normalization", "bn2", "head.bn"),
        Layer("classifier", "dense", "head/dense", "classifier", "head.classifier"),
    ]


@dataclasses.dataclass(frozen=True)
class Name:
    """Name and layout of one weight in a scheme."""

    name: str
    kind: str
    scheme: str

    def _axes(self, rank: int) -> tuple[int, ...]:
        """Which of the scheme's axes each of this project's axes is."""
        if self.scheme == "tf":
            return (0, 1, 3, 2) if self.kind == "depthwise" else tuple(range(rank))
        return {4: (2, 3, 1, 0), 2: (1, 0)}.get(rank, tuple(range(rank)))  # OIHW and OI

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """A view of the scheme's array, laid out as here."""
        return array.transpose(self._axes(array.ndim))

    def from_ours(self, array: np.ndarray) -> np.ndarray:
        """A view of this project's array, laid out as in the scheme."""
        return array.transpose(np.argsort(self._axes(array.ndim)))


def names(row: EfficientNetVariant, scheme: str) -> dict[str, Name]:
    """{this project's key: its name in `scheme`} of every weight."""
    found = {}
    for layer in layers(row):
        for leaf, (tf, torch) in LEAVES[layer.kind].items():
            collection, ours = leaf.split("/")
            name = f"{layer.tf}/{tf}" if scheme == "tf" else f"{getattr(layer, scheme)}.{torch}"
            found[f"{collection}/{layer.ours}/{ours}"] = Name(name, layer.kind, scheme)
    return found
