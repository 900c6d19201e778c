"""What each weight of an EfficientNet is called elsewhere, and how its array is laid out there.

Schemes: 'tf' (official TensorFlow checkpoints), 'timm' (PyTorch state dicts of timm's
tf_efficientnet_*), 'npz' (efficientnet-jax, which keeps PyTorch's layout), 'efficientnet_pytorch' (state dicts of
lukemelas' package of that name, and of efficientnet-lite-pytorch, which took its names).
Keys of this project are paths as in 'params/blocks_3/expand/kernel'.
"""

import dataclasses

import numpy as np

from ns_jax.models.efficientnet.variants import EfficientNet

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
    efficientnet_pytorch: str


# Layers of a block in order: ours, kind, TensorFlow's, timm's, efficientnet-jax's and efficientnet_pytorch's name of
# it. Keras numbers the layers of one class within a block, and timm its batch norms: the first of a block that does
# not expand is what the second of one that does is.
EXPANDING_BLOCK = (
    ("expand", "conv", "conv2d", "conv_pw", "conv_exp", "_expand_conv"),
    ("expand_bn", "bn", "tpu_batch_normalization", "bn1", "bn_exp", "_bn0"),
    ("depthwise", "depthwise", "depthwise_conv2d", "conv_dw", "conv_dw", "_depthwise_conv"),
    ("depthwise_bn", "bn", "tpu_batch_normalization_1", "bn2", "bn_dw", "_bn1"),
    ("se/reduce", "conv_bias", "se/conv2d", "se.conv_reduce", "se.reduce", "_se_reduce"),
    ("se/expand", "conv_bias", "se/conv2d_1", "se.conv_expand", "se.expand", "_se_expand"),
    ("project", "conv", "conv2d_1", "conv_pwl", "conv_pwl", "_project_conv"),
    ("project_bn", "bn", "tpu_batch_normalization_2", "bn3", "bn_pwl", "_bn2"),
)
PLAIN_BLOCK = (
    ("depthwise", "depthwise", "depthwise_conv2d", "conv_dw", "conv_dw", "_depthwise_conv"),
    ("depthwise_bn", "bn", "tpu_batch_normalization", "bn1", "bn_dw", "_bn1"),
    ("se/reduce", "conv_bias", "se/conv2d", "se.conv_reduce", "se.reduce", "_se_reduce"),
    ("se/expand", "conv_bias", "se/conv2d_1", "se.conv_expand", "se.expand", "_se_expand"),
    ("project", "conv", "conv2d", "conv_pw", "conv_pw", "_project_conv"),
    ("project_bn", "bn", "tpu_batch_normalization_1", "bn2", "bn_pw", "_bn2"),
)
STEM = (
    Layer("stem", "conv", "stem/conv2d", "conv_stem", "stem.conv", "_conv_stem"),
    Layer("stem_bn", "bn", "stem/tpu_batch_normalization", "bn1", "stem.bn", "_bn0"),
)
HEAD = (
    Layer("head", "conv", "head/conv2d", "conv_head", "head.conv_pw", "_conv_head"),
    Layer("head_bn", "bn", "head/tpu_batch_normalization", "bn2", "head.bn", "_bn1"),
    Layer("classifier", "dense", "head/dense", "classifier", "head.classifier", "_fc"),
)


def layers(variant: EfficientNet) -> list[Layer]:
    """Returns all layers with weights, from the stem to the classifier."""
    result, index = list(STEM), 0
    for number, (group, repeats) in enumerate(zip(variant.groups, variant.repeats, strict=True)):
        table = PLAIN_BLOCK if group.expand == 1 else EXPANDING_BLOCK
        for repeat in range(repeats):
            block, torch_block = f"blocks_{index}", f"blocks.{number}.{repeat}"
            for ours, kind, tf, timm, npz, lukemelas in table:
                if ours.startswith("se/") and not variant.squeeze_excite:
                    continue
                result.append(
                    Layer(
                        f"{block}/{ours}",
                        kind,
                        f"{block}/{tf}",
                        f"{torch_block}.{timm}",
                        f"{torch_block}.{npz}",
                        f"_blocks.{index}.{lukemelas}",
                    )
                )
            index += 1
    return result + list(HEAD)


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


def names(variant: EfficientNet, scheme: str) -> dict[str, Name]:
    """{this project's key: its name in `scheme`} of every weight."""
    result = {}
    for layer in layers(variant):
        for leaf, (tf, torch) in LEAVES[layer.kind].items():
            collection, ours = leaf.split("/")
            name = f"{layer.tf}/{tf}" if scheme == "tf" else f"{getattr(layer, scheme)}.{torch}"
            result[f"{collection}/{layer.ours}/{ours}"] = Name(name, layer.kind, scheme)
    return result
