"""The contract of a model: what the method needs to know about a network, whoever wrote it.

A family of networks (EfficientNet, ResNet, or one outside this project) fulfils `Architecture`. The rest of the
project reads parameter names, depths and options through it only. A network that was built for a number of
classes is a `Network`: its linen module, and how its inputs are prepared.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ns_jax.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Path = tuple[str, ...]  # of a parameter in its tree, as ('blocks_3', 'expand', 'kernel')


@dataclasses.dataclass(frozen=True)
class ImageInputs:
    """Square RGB images on the 0..255 scale.

    Attributes:
      resolution: of training, in pixels.
      test_resolution: of labelling and evaluation, in pixels.
      crop_padding: the centre crop is the square of size / (size + crop_padding) of the shorter side; 32 in
        noisystudent's preprocessing.py (the later tpu code has a fraction of 0.875 instead).
      interpolation: of the resize, 'bicubic' or 'bilinear'.
      mean, std: per channel, on the 0..1 scale; the network gets (image / 255 - mean) / std.
    """

    resolution: int
    test_resolution: int
    crop_padding: int = 32
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def example_shape(self, resolution: int | None = None) -> tuple[int, ...]:
        """Shape of one example at `resolution` pixels; that of training where None."""
        size = resolution or self.resolution
        return (size, size, 3)

    def prepare(self, images: jax.Array, dtype: Any) -> jax.Array:
        """[..., 3] images on 0..255, any dtype, to what the network takes, in `dtype`."""
        images = images.astype(jnp.float32)
        scale = 255.0 * jnp.asarray(self.std, jnp.float32)
        offset = 255.0 * jnp.asarray(self.mean, jnp.float32)
        rank = (1,) * (images.ndim - 1)
        return ((images - offset.reshape(*rank, 3)) / scale.reshape(*rank, 3)).astype(dtype)


@dataclasses.dataclass(frozen=True)
class ArrayInputs:
    """Arrays of one shape, which reach the network as the source has them.

    Attributes:
      shape: of one example.
      dtype: of the source's arrays.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"

    def example_shape(self, resolution: int | None = None) -> tuple[int, ...]:
        """Shape of one example. Raises UserError where a resolution is asked for."""
        if resolution:
            raise UserError(f"resolution={resolution}: the model takes arrays of shape {self.shape}, not images")
        return self.shape

    def prepare(self, arrays: jax.Array, dtype: Any) -> jax.Array:
        """The arrays in `dtype`."""
        return arrays.astype(dtype)


Inputs = ImageInputs | ArrayInputs


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """How a network is built for one purpose. An architecture ignores what it does not have.

    Attributes:
      dtype: of the computation; parameters and statistics are float32.
      dropout_rate: before the head; the architecture's own rate where None.
      stochastic_depth_rate: drop rate that is approached at the last block.
      bn_groups: in how many parts a batch is normalised in training.
      frozen_blocks: number of leading blocks (plus the stem) that are frozen: eval-mode batch norm, no gradient.
      scan_blocks: runs equal blocks as a loop.
      remat: computes activations again in the backward pass.
      bn_momentum: how much of its moving averages batch norm keeps at a step; the architecture's own where None.
      head_init: what bounds the kernel of a fresh head, drawn uniformly from +-1/sqrt: 'classes', their number (the
        official code's), or 'inputs', the number of features, for few classes.
      fold_batch_norm: for predictions only: variables are those of `Architecture.fold`, without batch norm.
    """

    dtype: Any = jnp.float32
    dropout_rate: float | None = None
    stochastic_depth_rate: float = 0.0
    bn_groups: int = 1
    frozen_blocks: int = 0
    scan_blocks: bool = False
    remat: bool = False
    bn_momentum: float | None = None
    head_init: str = "classes"
    fold_batch_norm: bool = False


class Architecture(abc.ABC):
    """A network before it has classes. Subclass it, or offer the same attributes.

    Attributes:
      name: in configs and in model.json; the registry sets it to 'package.module:factory' for those of others.
      inputs: of the network.
      num_blocks: how many blocks can be frozen, counted from the input.
      can_scan, can_remat, can_fold: whether `BuildOptions.scan_blocks`, `.remat` and `.fold_batch_norm` do anything.
      endpoints: names of the activations that the module returns with `features_only=True`.
    """

    name: str
    inputs: Inputs
    num_blocks: int = 0
    can_scan: bool = False
    can_remat: bool = False
    can_fold: bool = False
    endpoints: tuple[str, ...] = ()

    @abc.abstractmethod
    def build(self, num_classes: int, options: BuildOptions) -> nn.Module:
        """Returns a linen module.

        Its call is `module(inputs, train: bool = False, example_ids=None)`, to logits float32 [N, num_classes].
        `example_ids`, int32 [N], key the noise of each example, drawn from the rng stream 'noise'; -1 and None
        mean no noise. Its variables are 'params' and, if it has any state, 'batch_stats'.
        """

    @abc.abstractmethod
    def is_head(self, path: Path) -> bool:
        """Whether the parameter at `path` depends on the number of classes."""

    def decays(self, path: Path) -> bool:
        """Whether the parameter at `path` has weight decay."""
        return True

    def is_frozen(self, path: Path, frozen_blocks: int) -> bool:
        """Whether the parameter at `path` is fixed when `frozen_blocks` blocks are; none is at 0."""
        return False

    def is_split(self, path: Path, shape: tuple[int, ...]) -> bool:
        """Whether the parameter at `path` may be split over the devices that share a state."""
        return len(shape) >= 2

    def to_module(self, variables: Mapping, options: BuildOptions) -> dict:
        """{params, batch_stats} as artifacts hold them, to those of a module built with `options`."""
        return dict(variables)

    def from_module(self, variables: Mapping) -> dict:
        """Undoes `to_module`."""
        return dict(variables)

    def fold(self, variables: Mapping) -> dict:
        """{params, batch_stats} as artifacts hold them, to those of a module built with `fold_batch_norm`.

        `ns_jax.models.folding.fold_batch_norms` does it for layers that are named in one way. It may take arrays out
        of `variables`.
        """
        raise NotImplementedError

    def foreign_names(self, scheme: str) -> Mapping[str, Any] | None:
        """{this project's key, as 'params/stem/kernel': its name and layout in a scheme of `ns_jax.interop`}.

        The values are as `models.efficientnet.names.Name`. None where the scheme has no names for this architecture.
        """
        return None

    def foreign_widths(self, scheme: str) -> Mapping[str, int]:
        """{name in the scheme: number of output channels} of the arrays that tell sizes of one family apart."""
        return {}


CONTRACT = ("inputs", "build", "is_head", "decays", "is_frozen", "is_split", "to_module", "from_module",
            "num_blocks", "can_scan", "can_remat", "endpoints", "foreign_names")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Network:
    """An architecture built for a number of classes.

    Attributes:
      architecture: of which it is.
      num_classes: length of the logits.
      options: with which it was built.
      inputs: how batches are prepared; usually the architecture's, for a trained model those of its metadata.
      module: the linen module.
    """

    architecture: Architecture
    num_classes: int
    options: BuildOptions
    inputs: Inputs
    module: nn.Module

    def init(self, seed: int, resolution: int | None = None) -> dict:
        """Fresh {params, batch_stats}, as the module takes them; batch_stats is empty where it has none.

        Blocks that the module runs as a loop get the weights that they get without it.
        """
        single = self.architecture.build(self.num_classes, dataclasses.replace(self.options, scan_blocks=False))
        example = jnp.zeros((1, *self.inputs.example_shape(resolution)), jnp.float32)
        variables = single.init(jax.random.key(seed), example)
        surplus = set(variables) - {"params", "batch_stats"}
        if surplus:
            raise UserError(
                f"model {self.architecture.name!r} has variables {', '.join(sorted(surplus))}: only params and "
                "batch_stats are trained, averaged and saved"
            )
        return self.to_module({"params": variables["params"], "batch_stats": variables.get("batch_stats", {})})

    def to_module(self, variables: Mapping) -> dict:
        """{params, batch_stats} as artifacts hold them, to those that the module takes."""
        return self.architecture.to_module(variables, self.options)

    def prepare(self, batch: jax.Array) -> jax.Array:
        """Examples [N, ...] as a source has them, to what the module takes."""
        return self.inputs.prepare(batch, self.options.dtype)


def build_network(
    architecture: Architecture, num_classes: int, options: BuildOptions | None = None, inputs: Inputs | None = None
) -> Network:
    """Builds a network; `inputs` replaces the architecture's own (of a trained model: those of its metadata).

    Raises:
      UserError: the architecture cannot do what the options ask for.
    """
    options = options or BuildOptions()
    for option, able in (("scan_blocks", architecture.can_scan), ("remat", architecture.can_remat)):
        if getattr(options, option) and not able:
            raise UserError(f"model {architecture.name!r} has no {option}")
    if not 0 <= options.frozen_blocks <= architecture.num_blocks:
        raise UserError(
            f"frozen_blocks={options.frozen_blocks}: {architecture.name} has {architecture.num_blocks} blocks"
        )
    module = architecture.build(num_classes, options)
    return Network(architecture, num_classes, options, inputs or architecture.inputs, module)


def variable_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """{'params/stem/kernel': shape} of all variables of a network, as an artifact holds them."""
    from flax.traverse_util import flatten_dict

    plain = build_network(network.architecture, network.num_classes, inputs=network.inputs)
    tree = jax.eval_shape(lambda: plain.init(0))
    return {key: tuple(leaf.shape) for key, leaf in flatten_dict(tree, sep="/").items()}
