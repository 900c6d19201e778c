"""A trained model in another runtime for CPU than XLA."""

import jax

from ns_jax.artifact.weights import Artifact
from ns_jax.cores import usable_cores
from ns_jax.errors import UserError
from ns_jax.interop.onnx_model.engines import ENGINES, Engine
from ns_jax.interop.onnx_model.program import to_onnx

JAX = "jax"


def make_engine(artifact: Artifact, name: str, resolution: int | None, example_dtype, dtype: str) -> Engine:
    """The model of an artifact in a runtime, on the cores that this process may use.

    Args:
      artifact: of the model.
      name: of the runtime, a key of `ENGINES`.
      resolution: of the images, in pixels; None: the model's own, or arrays.
      example_dtype: of the examples that it takes.
      dtype: of the computation, 'float32' or 'bfloat16'.

    Returns:
      A function of examples [N, ...] that gives logits float32 [N, classes].

    Raises:
      UserError: the devices are no CPUs, a package is missing (says the line that installs it), the model has no ONNX
        form, or the runtime does not compute in `dtype`.
    """
    if name not in ENGINES:
        raise UserError(f"there is no inference engine {name!r}: choose one of {', '.join((JAX, *ENGINES))}")
    if jax.default_backend() != "cpu":
        raise UserError(f"inference engine {name} is for CPUs, and this is a {jax.default_backend()}: choose jax")
    return ENGINES[name](to_onnx(artifact, resolution, example_dtype), usable_cores(), dtype)
