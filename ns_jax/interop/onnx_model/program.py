"""A trained model as an ONNX program, for runtimes that are faster on CPU than XLA is.

It takes examples as the model's source has them, any N, and gives logits float32 [N, classes]; weights, with batch norm
folded, and the normalisation are inside.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from etils import epath

from ns_jax.artifact.metadata import network_of
from ns_jax.artifact.weights import Artifact
from ns_jax.errors import UserError
from ns_jax.files import write_bytes
from ns_jax.interop.export import example_spec
from ns_jax.interop.packages import require_package
from ns_jax.models import apply
from ns_jax.models.folding import folded

INPUT, OUTPUT = "examples", "logits"
PART = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2"}


def to_onnx(artifact: Artifact, resolution: int | None = None, dtype: Any = None) -> bytes:
    """The model as the bytes of an ONNX file.

    Args:
      artifact: of the model.
      resolution: of the images, in pixels; the model's own where None.
      dtype: of the examples; None: as `ns_jax.interop.export.example_spec` says, uint8 for images.

    Raises:
      UserError: the package onnx is missing, or the model computes something that has no form in ONNX here.
    """
    network, variables = folded(network_of(artifact.metadata), artifact.variables)
    variables = network.to_module(variables)
    shape, own_dtype = example_spec(artifact.metadata)
    if resolution is not None:
        shape = network.inputs.example_shape(resolution)
    try:
        return program_of(functools.partial(apply.logits, network, variables), shape, dtype or own_dtype)
    except UserError as error:
        raise UserError(f"{artifact.metadata['variant']} cannot be written as ONNX: {error}") from None


def program_of(function: Callable, shape: Sequence[int], dtype: Any) -> bytes:
    """A function of a batch [N, *shape] as the bytes of an ONNX file, for any N.

    Raises:
      UserError: the package onnx is missing, or a primitive of jax in it has no form in ONNX here.
    """
    require_package("onnx", "onnx")
    from ns_jax.interop.onnx_model.graph import Graph, Tensor
    from ns_jax.interop.onnx_model.primitives import require_tensor

    batch = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("batch"), *shape), jnp.dtype(dtype))
    closed = jax.jit(function).trace(batch).jaxpr
    graph, examples = Graph(), Tensor(INPUT, batch.shape, np.dtype(dtype))
    (result,) = _translate(graph, closed.jaxpr, closed.consts, [examples])
    return graph.to_model("model", examples, require_tensor(graph, result), OUTPUT).SerializeToString()


def _translate(graph, jaxpr, constants: Sequence, inputs: Sequence) -> list:
    """Adds the equations of a jaxpr to a graph; returns the values of its outputs."""
    from ns_jax.interop.onnx_model.primitives import TRANSLATIONS, compute_now

    values = dict(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
    values |= dict(zip(jaxpr.invars, inputs, strict=True))

    def value_of(atom):
        return np.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        name, arguments = equation.primitive.name, [value_of(atom) for atom in equation.invars]
        if (part := _part_of(equation, arguments)) is not None:
            inner, arguments = part
            results = _translate(graph, inner.jaxpr, inner.consts, arguments)
        elif name == "platform_index":
            results = [np.int32(_default_platform(equation.params["platforms"]))]
        else:
            known = all(isinstance(value, np.ndarray | np.generic) for value in arguments)
            result = compute_now(equation, arguments) if known else None
            if result is None:
                translation: Callable | None = TRANSLATIONS.get(name)
                if translation is None:
                    raise UserError(f"jax's primitive {name!r} has no form in ONNX here")
                result = translation(graph, equation, arguments)
            results = [result]
        values |= dict(zip(equation.outvars, results, strict=True))
    return [value_of(atom) for atom in jaxpr.outvars]


def _part_of(equation, arguments: list) -> tuple[Any, list] | None:
    """The jaxpr that an equation calls, and its arguments; None where it calls none."""
    if equation.primitive.name == "cond" and isinstance(arguments[0], np.ndarray | np.generic):
        return equation.params["branches"][int(arguments[0])], arguments[1:]
    if equation.primitive.name not in PART:
        return None
    inner = equation.params.get("jaxpr") or equation.params["call_jaxpr"]
    if not hasattr(inner, "consts"):
        inner = jax.extend.core.ClosedJaxpr(inner, ())
    return inner, arguments


def _default_platform(platforms: Sequence) -> int:
    """Which form of `lax.platform_dependent` is that of platforms without one of their own: native convolutions."""
    return next((place for place, of in enumerate(platforms) if of is None), len(platforms) - 1)


def write_onnx(path: epath.Path, artifact: Artifact) -> None:
    """Writes an ONNX file. Raises UserError as `to_onnx`."""
    write_bytes(path, to_onnx(artifact))


def run_onnx(path: epath.Path, batch: np.ndarray) -> np.ndarray:
    """Logits of the program at `path`, by onnxruntime. Raises UserError where that is not installed."""
    from ns_jax.interop.onnx_model.engines import ENGINES

    return ENGINES["onnxruntime"](path.read_bytes(), None, "float32")(batch)
