"""Official TensorFlow checkpoints: names under the model's scope, each with its moving average."""

import collections
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from etils import epath

from ns_jax.errors import UserError
from ns_jax.interop.foreign import ForeignWeights, foreign_names, named_architectures

EMA = "/ExponentialMovingAverage"
# Slots of the optimiser, the step, and the copy of the teacher that training on the fly keeps.
NOT_WEIGHTS = re.compile(r"RMSProp|/Momentum|(^|/)global_step$|^teacher_model/|^_CHECKPOINTABLE_OBJECT_GRAPH$")
NORM = re.compile(r"/(?:tpu_)?(batch_normalization)")  # 'tpu_' is absent where it was trained on GPUs


def find_prefix(path: epath.Path) -> str | None:
    """The prefix of a checkpoint: `path` itself, the newest of a folder, or None.

    Raises:
      UserError: a folder holds several, and does not say which is the newest.
    """
    if epath.Path(f"{path}.index").exists():
        return str(path)
    if not path.is_dir():
        return None
    import tensorflow as tf

    try:
        newest = tf.train.latest_checkpoint(str(path))
    except Exception:  # the file `checkpoint` is not a text
        newest = None
    if newest:
        return newest
    prefixes = sorted(str(index).removesuffix(".index") for index in path.glob("*.index"))
    if len(prefixes) > 1:
        raise UserError(f"{path} holds {len(prefixes)} checkpoints: name one of {', '.join(prefixes)}")
    return prefixes[0] if prefixes else None


def read_checkpoint(path: epath.Path, ema: bool) -> ForeignWeights:
    """Reads the moving averages, or with `ema=False` the raw weights.

    Raises:
      UserError: not a readable checkpoint (also when an array is fetched later), or without averages where
        they are asked for.
    """
    import tensorflow as tf

    prefix = find_prefix(path)

    def readable(function, argument):
        try:
            return function(argument)
        except Exception as error:  # TensorFlow raises many kinds
            reason = _first_line(error)
            raise UserError(f"{prefix} is not a readable TensorFlow checkpoint ({reason})") from None

    reader = readable(tf.train.load_checkpoint, prefix)
    stored = {
        name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items() if not NOT_WEIGHTS.search(name)
    }
    root = _scope(stored)
    if ema and not any(name.endswith(EMA) for name in stored):
        raise UserError(
            f"{prefix} has no moving averages, with which these models are meant to be used: ema=False "
            "takes its raw weights"
        )
    chosen: dict[str, str] = {}  # canonical name -> stored name
    for name in stored:
        raw, canonical = name.removesuffix(EMA), _canonical(name).removeprefix(root)
        if ema and raw == name:
            if raw + EMA in stored:
                continue
            canonical = f"{canonical} (which has no moving average)"
        elif not ema and raw != name:
            continue
        if canonical in chosen:
            raise UserError(f"{prefix} has both {name} and {chosen[canonical]}: which of them is meant is not known")
        chosen[canonical] = name
    shapes = {canonical: stored[name] for canonical, name in chosen.items()}
    return ForeignWeights("tf", shapes, lambda name: readable(reader.get_tensor, chosen[name]), str(path))


def _canonical(name: str) -> str:
    """A variable's name without its moving average's ending, as training on TPUs calls it."""
    return NORM.sub(r"/tpu_\1", name.removesuffix(EMA))


def _scope(stored: Iterable[str]) -> str:
    """The scope in which most of the variables are that some architecture knows, as 'efficientnet-b0/', or ''."""
    known = {
        name.name for architecture in named_architectures("tf") for name in foreign_names(architecture, "tf").values()
    }
    scopes: collections.Counter = collections.Counter()
    for name in stored:
        parts = _canonical(name).split("/")
        for depth in range(len(parts)):
            if "/".join(parts[depth:]) in known:
                scopes["".join(f"{part}/" for part in parts[:depth])] += 1
                break
    return scopes.most_common(1)[0][0] if scopes else ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def write_checkpoint(path: epath.Path, arrays: dict[str, np.ndarray], artifact) -> None:
    """Writes a folder with one checkpoint, raw weights and moving averages alike.

    Raises:
      UserError: TensorFlow cannot write there.
    """
    import tensorflow as tf

    path.mkdir(parents=True)
    root = artifact.metadata["variant"]
    values: dict[str, Any] = {f"{root}/{name}{suffix}": value for suffix in ("", EMA) for name, value in arrays.items()}
    values["global_step"] = np.int64(artifact.metadata.get("steps") or 0)
    try:
        tf.raw_ops.SaveV2(
            prefix=str(path / "model.ckpt"),
            tensor_names=list(values),
            shape_and_slices=[""] * len(values),
            tensors=list(values.values()),
        )
    except tf.errors.OpError as error:  # as that the disk is full
        raise UserError(f"cannot write {path}: {_first_line(error)}") from None
    (path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
