"""A trained model to ask: logits, predictions, features."""

import itertools
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from etils import epath

from ns_jax.artifact.class_names import readable_name
from ns_jax.artifact.weights import Artifact, check_variant, has_artifact
from ns_jax.checkpoint import find_checkpoint, read_ema
from ns_jax.data.preprocess import clean_image
from ns_jax.errors import UserError
from ns_jax.interop import formats
from ns_jax.interop.adapt import adapt
from ns_jax.interop.foreign import check_artifact
from ns_jax.models.efficientnet.stacking import unstack_blocks
from ns_jax.models.registry import create_model
from ns_jax.models.variants import Variant, get_variant

MAX_BATCH = 32
MAX_PIXELS = 3_000_000  # of a batch: what L2 at 800 px needs for one image stays below 4 GB


class Prediction(NamedTuple):
    """One class of one image: its index, its name (readable for ImageNet) and its probability."""

    index: int
    name: str
    probability: float


class Model:
    """A trained model. It takes the arrays out of the artifact, which cannot be used again.

    Attributes:
      variant: row of the zoo.
      num_classes: length of the logits.
      class_names: of each class; ImageNet's are WordNet ids.
      resolution: in pixels, at which `preprocess` makes images and the model is meant to be used.
      variables: {params, batch_stats} on the device.
      card: what is known about the model, as in model.json.
    """

    def __init__(self, artifact: Artifact):
        self.card = artifact.card
        self.variant: Variant = get_variant(self.card["variant"])
        self.class_names: list[str] = list(self.card["class_names"])
        self.num_classes = len(self.class_names)
        self.resolution: int = self.card["resolution"]
        self.module: nn.Module = create_model(self.variant, self.num_classes)
        check_artifact(artifact)
        # One array after the other, so that no second copy of the whole is ever in memory.
        self.variables = _move_to_device(artifact.variables)
        self._apply = jax.jit(formats.export.model_function(self.card), static_argnames="endpoint")

    def _in_batches(self, images: np.ndarray, endpoint: str | None) -> np.ndarray:
        height, width = images.shape[1:3]
        if (height, width) != (self.resolution, self.resolution):
            warnings.warn(
                f"images of {height} x {width} px for a model of {self.resolution} px: `preprocess` makes "
                "them as it wants them",
                stacklevel=3,
            )
        limit = max(1, min(MAX_BATCH, MAX_PIXELS // (height * width)))
        limit = 2 ** (limit.bit_length() - 1)
        results = []
        for start in range(0, max(1, len(images)), limit):
            part = images[start : start + limit]
            # Padded to a power of two: few programs are compiled, whatever the sizes of the batches.
            rows = 2 ** max(0, len(part) - 1).bit_length()
            padded = np.concatenate([part, np.zeros((rows - len(part), *part.shape[1:]), part.dtype)])
            results.append(np.asarray(self._apply(self.variables, padded, endpoint=endpoint))[: len(part)])
        return np.concatenate(results)

    def logits(self, images) -> np.ndarray:
        """Logits, float32 [N, num_classes].

        Args:
          images: [N, H, W, 3], uint8 or float, on the 0..255 scale, RGB, as `preprocess` makes them.

        Raises:
          UserError: another rank, type or number of channels, or images of several sizes.
        """
        return self._in_batches(_checked_images(images), None)

    def features(self, images, endpoint: str = "pooled") -> np.ndarray:
        """Activations: 'pooled' float32 [N, C], or maps [N, H', W', C], 'features' (before the pooling) and
        'reduction_1' to 'reduction_5' (half to 1/32 of the resolution). Images as for `logits`."""
        images = _checked_images(images)
        shape = jax.ShapeDtypeStruct((1, *images.shape[1:]), np.float32)
        known = jax.eval_shape(lambda v, x: self.module.apply(v, x, features_only=True), self.variables, shape)
        if endpoint not in known:
            raise UserError(f"unknown endpoint {endpoint!r}: there are {', '.join(sorted(known))}")
        return self._in_batches(images, endpoint)

    def preprocess(self, image) -> np.ndarray:
        """A file or a uint8 array [H, W, 3] to float32 [resolution, resolution, 3] on the 0..255 scale.

        Bicubic resize of the centre crop, as the official evaluation does it: neither rounded nor clipped.

        Raises:
          UserError: not a whole image; names the file.
        """
        return clean_image(image, self.resolution, self.card["crop_padding"])

    def predict(self, files_or_arrays, top: int = 5) -> list[list[Prediction]]:
        """The `top` most probable classes of each image, the first one first.

        Args:
          files_or_arrays: any iterable of paths and uint8 arrays [H, W, 3] of any size; one alone counts as a
            list of one.
          top: at most so many classes.

        Raises:
          UserError: see `preprocess`; or `top` is below 1.
        """
        if isinstance(files_or_arrays, str | os.PathLike) or getattr(files_or_arrays, "ndim", 0) == 3:
            files_or_arrays = [files_or_arrays]
        found = []
        for one in self.predict_each(files_or_arrays, top):
            if isinstance(one, UserError):
                raise one
            found.append(one)
        return found

    def predict_each(self, files_or_arrays: Iterable, top: int = 5) -> Iterator[list[Prediction] | UserError]:
        """Yields for each image its classes, as `predict`, or the error that says why there are none."""
        files_or_arrays = iter(files_or_arrays)
        while part := list(itertools.islice(files_or_arrays, MAX_BATCH)):
            inputs = [self._preprocessed_or_error(one) for one in part]
            images = [one for one in inputs if not isinstance(one, UserError)]
            rows = iter(self.top_classes(self._in_batches(np.stack(images), None), top) if images else [])
            for one in inputs:
                yield one if isinstance(one, UserError) else next(rows)

    def _preprocessed_or_error(self, image) -> np.ndarray | UserError:
        try:
            return self.preprocess(image)
        except UserError as error:
            return error

    def top_classes(self, logits: np.ndarray, top: int = 5) -> list[list[Prediction]]:
        """Logits [N, num_classes] to the `top` (UserError if below 1) most probable classes of each row."""
        if top < 1:
            raise UserError(f"top={top} must be at least 1")
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        probs = shifted / shifted.sum(-1, keepdims=True)
        order = np.argsort(-probs, axis=-1, kind="stable")[:, :top]
        return [
            [Prediction(int(i), readable_name(self.class_names[i]), float(row[i])) for i in best]
            for row, best in zip(probs, order, strict=True)
        ]


def _move_to_device(tree: dict) -> dict:
    """Puts the leaves of nested dicts onto the device and empties the dicts."""
    moved = {}
    for key in list(tree):
        value = tree.pop(key)
        moved[key] = _move_to_device(value) if isinstance(value, dict) else jax.device_put(value)
    return moved


def _checked_images(images) -> np.ndarray:
    try:
        images = np.asarray(images)
    except ValueError:
        raise UserError("images must all have the same shape, as `preprocess` makes them") from None
    if images.ndim != 4 or images.shape[-1] != 3:
        raise UserError(f"images must be [N, height, width, 3], not {list(images.shape)}")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"images must be uint8 or float, not {images.dtype}")
    if images.size and 0 < np.abs(images).max() <= 3:
        warnings.warn(
            f"float images are taken to be on the 0..255 scale, and these go from {images.min():.3g} to "
            f"{images.max():.3g}: were they scaled or normalised before?",
            stacklevel=3,
        )
    return images.astype(np.float32)


def _run_model(path: epath.Path) -> epath.Path | None:
    """The model that a run's folder ended with: fine-tuned where there is one, of its last finished iteration."""
    iterations = [one for one in path.glob("*_*") if re.search(r"\d+$", one.name)]
    iterations.sort(key=lambda one: int(re.search(r"\d+$", one.name)[0]), reverse=True)
    for one in (path, *iterations):
        for model in (one / "finetune" / "model", one / "model"):
            if has_artifact(model):
                return model
    return None


def read(path_or_name, variant: str | None = None, ema: bool = True) -> Artifact:
    """The weights at a path or under a name: `formats.read`, and the folders of runs and of their checkpoints.

    Raises:
      UserError: see `formats.read`.
    """
    path = epath.Path(path_or_name)
    if path.is_dir() and formats.recognize(path) is None:
        if model := _run_model(path):
            return formats.read(model, variant, ema)
        if checkpoint := find_checkpoint(path) or find_checkpoint(path / "checkpoints"):
            variables, card = read_ema(checkpoint)
            artifact = Artifact({name: unstack_blocks(tree) for name, tree in variables.items()}, card, checkpoint)
            check_variant(artifact, variant)
            return artifact
    return formats.read(path_or_name, variant, ema)


def load(
    path_or_name,
    variant: str | None = None,
    *,
    ema: bool = True,
    resolution: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Model:
    """Opens a trained model.

    Args:
      path_or_name: a model folder or run folder of this project, its checkpoints (the EMA of the newest) or one
        of them; timm's `.safetensors`, `.pth` or `.pth.tar`; an official TensorFlow checkpoint (folder or prefix);
        efficientnet-jax's `.npz`; or a name on the Hugging Face hub, as 'tf_efficientnet_b0.ns_jft_in1k'.
      variant: row of `ns_jax/models/variants.py`; recognised from the weights where None.
      ema: False takes the raw weights of a file that has both.
      resolution: in pixels; the model's own where None. L2 is 800 px, unless its name says 475.
      num_classes: if it is another number than the model's, a fresh classifier replaces its own.
      class_names: names of the classes.
      seed: of a fresh classifier.

    Returns:
      A Model.

    Raises:
      UserError: unknown format, or weights that do not fit (lists every name that is wrong); or a number below 1.
    """
    artifact = read(path_or_name, variant, ema)
    return Model(adapt(artifact, resolution, num_classes, class_names, seed))
