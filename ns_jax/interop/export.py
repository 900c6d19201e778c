"""Programs that run without this project: a TensorFlow SavedModel, and StableHLO (jax.export).

Both take uint8 images [N, resolution, resolution, 3], any N, and give logits float32
[N, classes]; the weights and the normalisation are inside.
"""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.extend.mlir.dialects import stablehlo

from ns_jax.artifact.weights import Artifact
from ns_jax.files import write_bytes
from ns_jax.models.layers import normalize_images
from ns_jax.models.registry import create_model
from ns_jax.models.variants import get_variant

PLATFORMS = ("cpu", "cuda", "tpu")

# TensorFlow's release lags behind jax's and refuses the versions that jax writes by default. Both
# promise to read and write older ones: https://openxla.org/stablehlo/compatibility.
STABLEHLO_OF_TENSORFLOW = "1.0.0"
CALLING_CONVENTION_OF_TENSORFLOW = 10


def model_function(card: dict):
    """(variables, images [N, H, W, 3] on 0..255, endpoint=None) -> logits float32 [N, classes], or the activations at
    an endpoint, of the model that a card describes."""
    model = create_model(get_variant(card["variant"]), len(card["class_names"]))

    def apply(variables, images, endpoint=None):
        images = normalize_images(images, card["mean"], card["std"], jnp.float32)
        if endpoint is None:
            return model.apply(variables, images)
        return model.apply(variables, images, features_only=True)[endpoint]

    return apply


def _images(size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*jax.export.symbolic_shape("batch"), size, size, 3), jnp.uint8)


def write_stablehlo(path: epath.Path, artifact: Artifact) -> None:
    """Writes what `jax.export.deserialize` reads, for CPU, CUDA and TPU."""
    function = jax.jit(functools.partial(model_function(artifact.card), artifact.variables))
    exported = jax.export.export(function, platforms=PLATFORMS)(_images(artifact.card["resolution"]))
    write_bytes(path, bytes(exported.serialize()))


def run_stablehlo(path: epath.Path, images: np.ndarray) -> np.ndarray:
    """Logits of the program at `path`."""
    return np.asarray(jax.export.deserialize(bytearray(path.read_bytes())).call(images))


def write_saved_model(path: epath.Path, artifact: Artifact) -> None:
    """Writes a SavedModel whose signature 'serving_default' maps images to logits."""
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla

    size, classes = artifact.card["resolution"], len(artifact.card["class_names"])
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), artifact.variables)
    exported = jax.export.export(jax.jit(model_function(artifact.card)), platforms=PLATFORMS)(shapes, _images(size))
    program = stablehlo.deserialize_portable_artifact_str(exported.mlir_module_serialized)
    program = stablehlo.serialize_portable_artifact_str(program, STABLEHLO_OF_TENSORFLOW)
    version = min(exported.calling_convention_version, CALLING_CONVENTION_OF_TENSORFLOW)

    module = tf.Module()
    module.weights = [tf.Variable(weight) for weight in jax.tree.leaves(artifact.variables)]

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8, name="images")], autograph=False)
    def serve(images):
        weights = [weight.read_value() for weight in module.weights]
        (logits,) = xla.call_module(
            [*weights, images],
            version=version,
            module=program,
            Tout=[tf.float32],
            Sout=[tf.TensorShape([None, classes])],
            platforms=[platform.upper() for platform in PLATFORMS],
        )
        return {"logits": logits}

    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})


def run_saved_model(path: epath.Path, images: np.ndarray) -> np.ndarray:
    """Logits of the program at `path`."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return serve(images=tf.constant(images))["logits"].numpy()
