"""This project's model with the platform's convolutions, as any Flax model has them."""

import sys

from benchmarks.contest import serve
from benchmarks.contestants.ns_jax_model import make_work
from benchmarks.contestants.task import Task
from ns_jax.models import layers
from ns_jax.models.ops.native_conv import native_conv


def use_native_convolutions() -> None:
    """Takes this project's own lowerings for CPU out of every model that is traced from now on."""
    layers.depthwise_conv = lambda x, kernel, stride: native_conv(x, kernel, stride, "SAME")
    layers.pointwise_conv = lambda x, kernel: native_conv(x, kernel, 1, "VALID")


if __name__ == "__main__":
    use_native_convolutions()
    serve(make_work(Task.from_text(sys.argv[1])))
