"""Predictions of a model, image by image, beside the result of their evaluation: evaluations/NAME.npz."""

import dataclasses
import io
import zipfile

import numpy as np
from etils import epath

from ns_jax.errors import UserError
from ns_jax.files import write_bytes

MAX_PROBABILITIES = 20_000_000  # that are kept: 80 MB


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model says of the images of a labeled source.

    Attributes:
      ids: byte strings [N], as in the source.
      labels: int32 [N], the truth.
      probs: float32 [N, classes].
      class_names: [classes].
    """

    ids: np.ndarray
    labels: np.ndarray
    probs: np.ndarray
    class_names: tuple[str, ...]


def write_predictions(path: epath.Path, predictions: Predictions) -> None:
    """Writes arrays id, label, probs and class_names, in one step."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        id=predictions.ids,
        label=predictions.labels.astype(np.int32),
        probs=predictions.probs.astype(np.float32),
        class_names=np.array(predictions.class_names, np.str_),
    )
    write_bytes(path, buffer.getvalue())


def read_predictions(path: epath.Path) -> Predictions | None:
    """The predictions in a file; None where there is none. Raises UserError for a damaged one."""
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as arrays:
            names = tuple(str(name) for name in arrays["class_names"])
            return Predictions(arrays["id"], arrays["label"], arrays["probs"], names)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and the .json beside it, and run again") from None
