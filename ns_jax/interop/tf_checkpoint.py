"""Official TensorFlow checkpoints: names under the model's scope, each with its moving average."""

import re

import numpy as np
from etils import epath

from ns_jax.errors import UserError
from ns_jax.interop.foreign import ForeignWeights

EMA = "/ExponentialMovingAverage"
# Slots of the optimiser, the step, and the copy of the teacher that training on the fly keeps.
NOT_WEIGHTS = re.compile(r"RMSProp|/Momentum|(^|/)global_step$|^teacher_model/|^_CHECKPOINTABLE_OBJECT_GRAPH$")
NORM = re.compile(r"/(?:tpu_)?(batch_normalization)")  # 'tpu_' is absent where it was trained on GPUs


def find_prefix(path: epath.Path) -> str | None:
    """The prefix of a checkpoint: `path` itself, the newest of a folder, or None."""
    if epath.Path(f"{path}.index").exists():
        return str(path)
    if not path.is_dir():
        return None
    import tensorflow as tf

    if newest := tf.train.latest_checkpoint(str(path)):
        return newest
    found = sorted(path.glob("*.index"))
    if len(found) > 1:
        raise UserError(f"{path} holds {len(found)} checkpoints: name one of {', '.join(str(p)[:-6] for p in found)}")
    return str(found[0]).removesuffix(".index") if found else None


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
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"{prefix} is not a readable TensorFlow checkpoint ({reason})") from None

    reader = readable(tf.train.load_checkpoint, prefix)
    stored = {
        name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items() if not NOT_WEIGHTS.search(name)
    }
    stem = re.compile(rf"(.*)stem/conv2d/kernel({EMA})?")
    root = next((found[1] for found in map(stem.fullmatch, stored) if found), "")
    if ema and not any(name.endswith(EMA) for name in stored):
        raise UserError(
            f"{prefix} has no moving averages, with which these models are meant to be used: ema=False "
            "takes its raw weights"
        )
    chosen = {}  # canonical name -> stored name
    for name in stored:
        raw = name.removesuffix(EMA)
        canonical = NORM.sub(r"/tpu_\1", raw.removeprefix(root))
        if not ema:
            if raw == name:
                chosen[canonical] = name
        elif raw != name:
            chosen[canonical] = name
        elif raw + EMA not in stored:
            chosen[f"{canonical} (which has no moving average)"] = name
    shapes = {canonical: stored[name] for canonical, name in chosen.items()}
    return ForeignWeights("tf", shapes, lambda name: readable(reader.get_tensor, chosen[name]), str(path))


def write_checkpoint(path: epath.Path, arrays: dict[str, np.ndarray], artifact) -> None:
    """Writes a folder with one checkpoint, raw weights and moving averages alike."""
    import tensorflow as tf

    path.mkdir(parents=True)
    root = artifact.card["variant"]
    values = {f"{root}/{name}{suffix}": value for suffix in ("", EMA) for name, value in arrays.items()}
    values["global_step"] = np.int64(artifact.card["steps"] or 0)
    tf.raw_ops.SaveV2(
        prefix=str(path / "model.ckpt"),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )
    (path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
