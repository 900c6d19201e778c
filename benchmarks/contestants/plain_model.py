"""This project's model with the native convolutions, as any Flax model has them."""

import sys

from benchmarks.contest import serve
from benchmarks.contestants.ns_jax_model import make_work
from ns_jax.models import layers
from ns_jax.models.ops import depthwise, pointwise

if __name__ == "__main__":
    layers.depthwise_conv = depthwise._native
    layers.pointwise_conv = pointwise._native
    serve(make_work(sys.argv[1], sys.argv[2], int(sys.argv[3])))
