"""Programs that run without this project: a TensorFlow SavedModel, and StableHLO (jax.export).

Both take uint8 or float32 images [N, resolution, resolution, 3] on the 0..255 scale, any N, and
give logits float32 [N, classes]; the weights and the normalisation are inside.
"""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from etils import epath

from ns_jax.files import write_bytes
from ns_jax.interop.artifact import Artifact
from ns_jax.models.layers import normalize_images
from ns_jax.models.variants import get_variant
from ns_jax.models.zoo import create_model

PLATFORMS = ("cpu", "cuda", "tpu")


def logits_function(card: dict):
    """(variables, images [N, H, W, 3] on 0..255) -> logits float32 [N, classes], as model.json describes the model."""
    model = create_model(get_variant(card["variant"]), len(card["class_names"]))

    def logits(variables, images):
        images = normalize_images(images, card["mean"], card["std"], jnp.float32)
        return model.apply(variables, images, train=False)

    return logits


def write_stablehlo(path: epath.Path, artifact: Artifact) -> None:
    """Writes what `jax.export.deserialize` reads, for CPU, CUDA and TPU."""
    function = jax.jit(functools.partial(logits_function(artifact.card), artifact.variables))
    size = artifact.card["resolution"]
    images = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("batch"), size, size, 3), jnp.uint8)
    write_bytes(path, bytes(jax.export.export(function, platforms=PLATFORMS)(images).serialize()))


def run_stablehlo(path: epath.Path, images: np.ndarray) -> np.ndarray:
    """Logits of the program at `path`."""
    return np.asarray(jax.export.deserialize(bytearray(path.read_bytes())).call(images))


def write_saved_model(path: epath.Path, artifact: Artifact) -> None:
    """Writes a SavedModel whose signature 'serving_default' maps images to logits."""
    import tensorflow as tf
    from jax.experimental import jax2tf

    size = artifact.card["resolution"]
    convert = jax2tf.convert(logits_function(artifact.card), with_gradient=False,
                             polymorphic_shapes=[None, "(batch, ...)"])  # fmt: skip
    module = tf.Module()
    module.weights = jax.tree.map(tf.Variable, artifact.variables)
    signature = tf.TensorSpec([None, size, size, 3], tf.uint8, name="images")
    module.logits = tf.function(lambda images: {"logits": convert(module.weights, images)}, input_signature=[signature],
                                autograph=False)  # fmt: skip
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.logits})


def run_saved_model(path: epath.Path, images: np.ndarray) -> np.ndarray:
    """Logits of the program at `path`."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return serve(images=tf.constant(images))["logits"].numpy()
