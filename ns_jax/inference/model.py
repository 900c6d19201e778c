"""A trained model to ask: logits, predictions, features."""

import functools
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
import scipy.special
from etils import epath

from ns_jax.artifact.class_names import readable_name
from ns_jax.artifact.metadata import check_metadata, check_variant, network_of
from ns_jax.artifact.weights import Artifact
from ns_jax.errors import UserError
from ns_jax.inference.compile_options import compiler_options
from ns_jax.inference.run_folder import result_of_run
from ns_jax.interop import formats
from ns_jax.interop.adapt import adapt
from ns_jax.interop.foreign import check_artifact
from ns_jax.models import apply
from ns_jax.models.base import Architecture, ArrayInputs, Network
from ns_jax.models.folding import folded

MAX_BATCH = 32
MAX_PIXELS = 3_000_000  # of a batch: what L2 at 800 px needs for one image stays below 4 GB


class Prediction(NamedTuple):
    """One class of one example: its index, its name (readable for ImageNet) and its probability."""

    index: int  # type: ignore[assignment]  # a tuple has a method of this name
    name: str
    probability: float


class Model:
    """A trained model of images, or of arrays of one shape.

    Attributes:
      architecture: of the table, or of one's own factory.
      network: the architecture built for this model's classes and inputs, to predict.
      module: its linen module.
      num_classes: length of the logits.
      class_names: of each class; ImageNet's are WordNet ids.
      resolution: in pixels, at which `preprocess` makes images and the model is meant to be used; None for arrays.
      variables: {params, batch_stats} as the module takes them, on the device: batch norm folded into the convolutions,
        unless `fold_batch_norm` is False.
      metadata: what is known about the model, as in model.json.
    """

    def __init__(self, artifact: Artifact, fold_batch_norm: bool = True, engine: str = "jax", *, consume: bool = False):
        """Puts an artifact's weights on the device.

        Args:
          artifact: stays as it is, unless `consume`.
          fold_batch_norm: see `ns_jax.load`, as for `engine`.
          engine: what computes logits.
          consume: takes the arrays out of the artifact, so that no second copy of the whole is ever in memory.

        Raises:
          UserError: the weights are not those of the model that the metadata describes, or not finite; or see
            `make_engine`.
        """
        check_artifact(artifact)
        self.metadata = artifact.metadata
        self._engine = self._make_engine(artifact, engine)
        variables = artifact.variables if consume else jax.tree.map(lambda array: array, artifact.variables)
        self.network: Network = network_of(self.metadata)
        if fold_batch_norm:
            self.network, variables = folded(self.network, variables, consume=True)
        self.architecture: Architecture = self.network.architecture
        self.module: nn.Module = self.network.module
        self.class_names: list[str] = list(self.metadata["class_names"])
        self.num_classes = len(self.class_names)
        self.resolution: int | None = self.metadata["resolution"]
        self.variables = _move_to_device(variables)
        options = compiler_options(self.network)
        self._logits = jax.jit(functools.partial(apply.logits, self.network), compiler_options=options)
        self._activation = jax.jit(
            lambda variables, batch, endpoint: apply.activations(self.network, variables, batch)[endpoint],
            static_argnames="endpoint",
            compiler_options=options,
        )

    def _make_engine(self, artifact: Artifact, name: str):
        if name == "jax":
            return None
        from ns_jax.inference.engines import make_engine  # here: few ask for it

        inputs = network_of(artifact.metadata).inputs
        example_dtype = inputs.dtype if isinstance(inputs, ArrayInputs) else "float32"
        return make_engine(artifact, name, artifact.metadata["resolution"], example_dtype, "float32")

    def _in_batches(self, examples: np.ndarray, endpoint: str | None) -> np.ndarray:
        limit = MAX_BATCH
        if self.resolution is not None:
            height, width = examples.shape[1:3]
            if (height, width) != (self.resolution, self.resolution):
                warnings.warn(
                    f"images of {height} x {width} px for a model of {self.resolution} px: `preprocess` makes "
                    "them as it wants them",
                    stacklevel=3,
                )
            limit = max(1, min(MAX_BATCH, MAX_PIXELS // (height * width)))
        limit = 2 ** (limit.bit_length() - 1)
        results = []
        for start in range(0, max(1, len(examples)), limit):
            part = examples[start : start + limit]
            # Padded to a power of two: few programs are compiled, whatever the sizes of the batches.
            size = 2 ** max(0, len(part) - 1).bit_length()
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
            own_shape = self.resolution is None or examples.shape[1:3] == (self.resolution, self.resolution)
            if endpoint is None and self._engine is not None and own_shape:
                outputs = self._engine(padded if self.resolution is None else padded.astype(np.float32))
            elif endpoint is None:
                outputs = self._logits(self.variables, padded)
            else:
                outputs = self._activation(self.variables, padded, endpoint=endpoint)
            results.append(np.asarray(outputs)[: len(part)])
        return np.concatenate(results)

    def _checked(self, examples) -> np.ndarray:
        inputs = self.network.inputs
        return _checked_arrays(examples, inputs) if isinstance(inputs, ArrayInputs) else _checked_images(examples)

    def logits(self, examples) -> np.ndarray:
        """Logits, float32 [N, num_classes].

        Args:
          examples: images [N, H, W, 3], uint8 or float, on the 0..255 scale, RGB, as `preprocess` makes them; of a
            model of arrays: [N, ...] of its shape and of a dtype that its own can hold.

        Raises:
          UserError: another shape, dtype or number of channels, or examples of several shapes.
        """
        return self._in_batches(self._checked(examples), None)

    def features(self, examples, endpoint: str = "pooled") -> np.ndarray:
        """Activations at an endpoint of the architecture, for examples as for `logits`.

        Args:
          examples: see `logits`.
          endpoint: of EfficientNet and ResNet 'pooled', float32 [N, C]; 'features', the maps [N, H', W', C] before
            the pooling; or 'reduction_1' to 'reduction_5', those of half to 1/32 of the resolution.

        Raises:
          UserError: there is no such endpoint, or see `logits`.
        """
        known = self.architecture.endpoints
        if not known:
            raise UserError(f"{self.architecture.name} has no features: it lists no endpoints")
        if endpoint not in known:
            raise UserError(f"unknown endpoint {endpoint!r}: there are {', '.join(sorted(known))}")
        return self._in_batches(self._checked(examples), endpoint)

    def preprocess(self, image) -> np.ndarray:
        """A file or a uint8 array [H, W, 3] to float32 [resolution, resolution, 3] on the 0..255 scale.

        Resize of the centre crop, bicubic or as the model's metadata says, as noisystudent's evaluation does it (32 px
        of padding): neither rounded nor clipped. A file is turned as its EXIF data say where the model was trained
        so. An array for a model of arrays stays as it is.

        Raises:
          UserError: not a whole image (names the file), or a file for a model of arrays.
        """
        if isinstance(self.network.inputs, ArrayInputs):
            if isinstance(image, str | os.PathLike):
                raise UserError(
                    f"{os.fspath(image)}: the model takes arrays of shape {list(self.network.inputs.shape)}, no files"
                )
            return _checked_arrays([image], self.network.inputs)[0]
        if isinstance(image, str | os.PathLike) and os.path.exists(image) and not os.path.isfile(image):
            raise UserError(f"{os.fspath(image)}: not a file")  # a pipe would never end
        from ns_jax.data.preprocess import clean_image  # here: TensorFlow takes seconds to import
        from ns_jax.data.views import View

        inputs = self.network.inputs
        view = View(inputs.test_resolution, inputs.crop_padding, inputs.interpolation)
        return clean_image(image, view, self.metadata.get("exif_orientation", False))

    def predict(self, files_or_arrays, top: int = 5) -> list[list[Prediction]]:
        """The `top` most probable classes of each example, the first one first.

        Args:
          files_or_arrays: any iterable of paths and uint8 arrays [H, W, 3] of any size (arrays of its shape for a
            model of arrays); a single path or array counts as a list with it.
          top: at most so many classes.

        Raises:
          UserError: see `preprocess`; `top` is below 1; or the model's logits are not numbers.
        """
        rank = len(self.network.inputs.example_shape())
        if isinstance(files_or_arrays, str | os.PathLike) or getattr(files_or_arrays, "ndim", None) == rank:
            files_or_arrays = [files_or_arrays]
        predictions = []
        for answer in self.predict_each(files_or_arrays, top):
            if isinstance(answer, UserError):
                raise answer
            predictions.append(answer)
        return predictions

    def predict_each(self, files_or_arrays: Iterable, top: int = 5) -> Iterator[list[Prediction] | UserError]:
        """Yields for each example its classes, as `predict`, or the error that says why there are none."""
        files_or_arrays = iter(files_or_arrays)
        while part := list(itertools.islice(files_or_arrays, MAX_BATCH)):
            inputs = [self._preprocessed_or_error(example) for example in part]
            examples = [example for example in inputs if not isinstance(example, UserError)]
            answers = iter(self.top_classes(self._in_batches(np.stack(examples), None), top) if examples else [])
            for example in inputs:
                yield example if isinstance(example, UserError) else next(answers)

    def _preprocessed_or_error(self, image) -> np.ndarray | UserError:
        try:
            return self.preprocess(image)
        except UserError as error:
            return error

    def top_classes(self, logits: np.ndarray, top: int = 5) -> list[list[Prediction]]:
        """The most probable classes of each example.

        Args:
          logits: [N, num_classes].
          top: at most so many classes.

        Raises:
          UserError: `top` is below 1, or a logit is not finite.
        """
        if top < 1:
            raise UserError(f"top={top} must be at least 1")
        if not np.isfinite(logits).all():
            raise UserError("the model gives logits that are not numbers: its weights, or the example, are broken")
        probabilities = scipy.special.softmax(logits, axis=-1)
        order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top]
        return [
            [Prediction(int(i), readable_name(self.class_names[i]), float(of_classes[i])) for i in best]
            for of_classes, best in zip(probabilities, order, strict=True)
        ]


def _move_to_device(tree: dict) -> dict:
    """Puts the leaves of nested dicts onto the device, one after the other, and empties the dicts.

    So no second copy of the whole is ever in memory.
    """
    moved = {}
    for key in list(tree):
        value = tree.pop(key)
        moved[key] = _move_to_device(value) if isinstance(value, dict) else jax.device_put(value)
    return moved


def _as_array(examples) -> np.ndarray:
    try:
        return np.asarray(examples)
    except ValueError:
        raise UserError("images or arrays must all have the same shape, as `preprocess` makes them") from None


def _checked_arrays(arrays, inputs: ArrayInputs) -> np.ndarray:
    """[N, *shape] in the model's dtype."""
    arrays = _as_array(arrays)
    if arrays.shape[1:] != inputs.shape or arrays.ndim == 0:
        raise UserError(f"arrays must be {['N', *inputs.shape]}, not {list(arrays.shape)}".replace("'", ""))
    if not np.can_cast(arrays.dtype, np.dtype(inputs.dtype), "same_kind"):
        raise UserError(f"arrays must be {inputs.dtype}, not {arrays.dtype}")
    return arrays.astype(inputs.dtype)


def _checked_images(images) -> np.ndarray:
    """[N, H, W, 3] uint8, or float32."""
    images = _as_array(images)
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
            stacklevel=4,
        )
    return images.astype(np.float32)


def read(path_or_name, variant: str | None = None, ema: bool = True) -> Artifact:
    """The weights at a path or under a name: `formats.read`, and the folders of runs and of their checkpoints.

    Raises:
      UserError: see `formats.read`.
    """
    path = formats.path_of(path_or_name)
    if path.is_dir() and formats.recognize(path) is None:
        if model := result_of_run(path):
            return formats.read(model, variant, ema)
        if artifact := _read_newest_checkpoint(path, variant):
            return artifact
    return formats.read(path_or_name, variant, ema)


def _read_newest_checkpoint(folder: epath.Path, variant: str | None) -> Artifact | None:
    """The EMA of a checkpoint, or of the newest in a folder, as an artifact would hold it; None where there is none."""
    from ns_jax.checkpoint import find_checkpoint, read_ema  # here: orbax takes seconds to import

    checkpoint = find_checkpoint(folder) or find_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        return None
    variables, metadata = read_ema(checkpoint)
    metadata = check_metadata(metadata, f"the metadata in {checkpoint}")
    check_variant(metadata, variant, checkpoint)
    return Artifact(network_of(metadata).architecture.from_module(variables), metadata, checkpoint)


def load(
    path_or_name,
    variant: str | None = None,
    *,
    ema: bool = True,
    resolution: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    fold_batch_norm: bool = True,
    engine: str = "jax",
) -> Model:
    """Opens a trained model: `ns_jax.load`, which describes the arguments."""
    artifact = adapt(read(path_or_name, variant, ema), resolution, num_classes, class_names, seed)
    return Model(artifact, fold_batch_norm, engine, consume=True)  # nobody else has this artifact
