"""Networks from outside the project, as a user might write them: without batch norm, on images and on vectors."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ns_jax.models.base import Architecture, ArrayInputs, ImageInputs


class DenseModule(nn.Module):
    """[N, ...] to logits: a hidden layer, and an output layer called 'out'."""

    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x, train: bool = False, example_ids=None):
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(7, dtype=self.dtype, name="hidden")(x))
        return nn.Dense(self.num_classes, name="out")(x.astype(jnp.float32))


@dataclasses.dataclass(eq=False)  # not hashable by its values, as anything may be
class DenseNetwork(Architecture):
    inputs: Any
    name: str = "dense"

    def build(self, num_classes, options):
        return DenseModule(num_classes, options.dtype)

    def is_head(self, path):
        return path[0] == "out"


def dense_network():
    return DenseNetwork(ArrayInputs((5,)))


def image_network():
    return DenseNetwork(ImageInputs(8, 8, crop_padding=0))


class SumModule(nn.Module):
    """Without any weights but the head's, and with integers as inputs."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool = False, example_ids=None):
        return nn.Dense(self.num_classes, name="out")(x.astype(jnp.float32).sum((1, 2))[:, None])


def integer_network():
    network = DenseNetwork(ArrayInputs((2, 3), "int32"))
    network.build = lambda num_classes, options: SumModule(num_classes)
    return network


class PythonModule(DenseModule):
    """As `DenseModule`, but its code asks for the size of a batch in Python."""

    @nn.compact
    def __call__(self, x, train: bool = False, example_ids=None):
        return nn.Dense(self.num_classes, name="out")(x.reshape(len(x), -1))


def python_network():
    network = dense_network()
    network.build = lambda num_classes, options: PythonModule(num_classes, options.dtype)
    return network
