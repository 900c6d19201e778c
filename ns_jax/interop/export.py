"""Programs that run without this project: a TensorFlow SavedModel, and StableHLO (jax.export).

Both take examples as the model's source has them, any N, uint8 images [N, resolution, resolution, 3] or arrays of the
model's shape and dtype, and give logits float32 [N, classes]; the weights and the normalisation are inside.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.extend.mlir.dialects import stablehlo

from ns_jax.artifact.metadata import network_of
from ns_jax.artifact.weights import Artifact
from ns_jax.errors import UserError
from ns_jax.files import write_bytes
from ns_jax.models import apply
from ns_jax.models.base import ArrayInputs

PLATFORMS = ("cpu", "cuda", "tpu")

# TensorFlow's release lags behind jax's and refuses the versions that jax writes by default. Both
# promise to read and write older ones: https://openxla.org/stablehlo/compatibility.
STABLEHLO_OF_TENSORFLOW = "1.0.0"
CALLING_CONVENTION_OF_TENSORFLOW = 10


def model_function(metadata: Mapping) -> Callable:
    """Returns the function (variables, batch [N, ...]) -> logits float32 [N, classes] of a model."""
    return functools.partial(apply.logits, network_of(metadata))


def example_spec(metadata: Mapping) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of an example that a program takes; images are uint8."""
    inputs = network_of(metadata).inputs
    dtype = np.dtype(inputs.dtype if isinstance(inputs, ArrayInputs) else "uint8")
    return inputs.example_shape(), dtype


def random_examples(metadata: Mapping, count: int, seed: int = 0) -> np.ndarray:
    """Examples of the shape and dtype that a program takes, to compare one with another."""
    shape, dtype = example_spec(metadata)
    rng = np.random.default_rng(seed)
    if dtype.kind == "f":
        return rng.normal(size=(count, *shape)).astype(dtype)
    return rng.integers(0, 2 if dtype.kind == "b" else 128 if dtype.kind == "i" else 256, (count, *shape)).astype(dtype)


def _batch_spec(metadata: Mapping) -> jax.ShapeDtypeStruct:
    shape, dtype = example_spec(metadata)
    return jax.ShapeDtypeStruct((*jax.export.symbolic_shape("batch"), *shape), jnp.dtype(dtype))


def _export(function: Callable, metadata: Mapping, *variables) -> jax.export.Exported:
    """Exports `function(*variables, batch)` for a batch of any size.

    Raises:
      UserError: the model's code needs to know the size of a batch.
    """
    try:
        return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*variables, _batch_spec(metadata))
    except Exception as error:  # whatever code of one's own raises
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{metadata['variant']} cannot be exported for batches of any size: {reason}") from error


def write_stablehlo(path: epath.Path, artifact: Artifact) -> None:
    """Writes what `jax.export.deserialize` reads, for CPU, CUDA and TPU."""
    function = functools.partial(model_function(artifact.metadata), artifact.variables)
    exported = _export(function, artifact.metadata)
    write_bytes(path, bytes(exported.serialize()))


def run_stablehlo(path: epath.Path, batch: np.ndarray) -> np.ndarray:
    """Logits of the program at `path`."""
    return np.asarray(jax.export.deserialize(bytearray(path.read_bytes())).call(batch))


def write_saved_model(path: epath.Path, artifact: Artifact) -> None:
    """Writes a SavedModel whose signature 'serving_default' maps 'images' (or 'arrays') to 'logits'.

    Raises:
      UserError: TensorFlow cannot write there.
    """
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla

    metadata = artifact.metadata
    shape, dtype = example_spec(metadata)
    classes = len(metadata["class_names"])
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), artifact.variables)
    exported = _export(model_function(metadata), metadata, shapes)
    program = stablehlo.deserialize_portable_artifact_str(exported.mlir_module_serialized)
    program = stablehlo.serialize_portable_artifact_str(program, STABLEHLO_OF_TENSORFLOW)
    version = min(exported.calling_convention_version, CALLING_CONVENTION_OF_TENSORFLOW)

    module = tf.Module()
    module.weights = [tf.Variable(weight) for weight in jax.tree.leaves(artifact.variables)]
    name = "arrays" if metadata.get("input_shape") else "images"

    @tf.function(input_signature=[tf.TensorSpec([None, *shape], dtype, name=name)], autograph=False)
    def serve(batch):
        weights = [weight.read_value() for weight in module.weights]
        (logits,) = xla.call_module(
            [*weights, batch],
            version=version,
            module=program,
            Tout=[tf.float32],
            Sout=[tf.TensorShape([None, classes])],
            platforms=[platform.upper() for platform in PLATFORMS],
        )
        return {"logits": logits}

    try:
        tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    except tf.errors.OpError as error:  # as that the disk is full
        raise UserError(f"cannot write {path}: {' '.join(str(error.message).split())[:300]}") from None


def run_saved_model(path: epath.Path, batch: np.ndarray) -> np.ndarray:
    """Logits of the program at `path`."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    return serve(**{name: tf.constant(batch)})["logits"].numpy()
