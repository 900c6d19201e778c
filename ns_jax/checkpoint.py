"""Checkpoints of a run. The only importer of orbax."""

import logging as std_logging

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from ns_jax.errors import UserError
from ns_jax.files import require_space
from ns_jax.parallel.hosts import barrier, is_lead, sum_over_hosts
from ns_jax.training.state import TrainState, tree_checksums

# Orbax logs every step of every save, and whole traces of errors that it raises here anyway.
std_logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


class Checkpoints:
    """The newest few checkpoints of a TrainState in a folder, with a checksum of every array.

    Args:
      folder: of the checkpoints.
      keep: how many stay.
      of: what they belong to; those of another are refused.
      model: the card of the model in them, with which `read_ema` opens one.
    """

    def __init__(self, folder: epath.Path, keep: int, of: str = "", model: dict | None = None):
        self.folder, self.keep, self.of, self.model = epath.Path(folder), keep, of, model
        self._checksums = jax.jit(tree_checksums)
        self._open()

    def _open(self):
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(self.keep), create=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, state: TrainState, step: int) -> None:
        """Begins to save; returns when the arrays are copied to host memory.

        Raises:
          OSError: the disk has no room for it. Found here, it costs one line; found by the many
            writers in the background, each of them prints a trace.
        """
        self._manager.wait_until_finished()
        require_space(self.folder, sum(leaf.nbytes for leaf in jax.tree.leaves(state)) // jax.process_count())
        card = {
            "of": self.of,
            "shapes": _shapes(state),
            "checksums": self._checksum_list(state),
            "model": self.model and self.model | {"steps": step},
        }
        self._manager.save(
            step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), card=ocp.args.JsonSave(card))
        )

    def _checksum_list(self, state) -> list[int]:
        return [int(x) for x in jax.device_get(self._checksums(state))]

    def restore_newest(self, like: TrainState) -> TrainState | None:
        """The newest intact checkpoint, or None where there is none yet.

        A damaged one is moved aside to `damaged-STEP` and the one before is taken; the log says so.

        Args:
          like: a state whose shapes, dtypes and shardings the result has.

        Raises:
          UserError: the checkpoints are of another model or teacher, or all of them are damaged.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            state, problem = self._try(step, like)
            # One verdict for all hosts: what follows needs every one of them.
            if not sum_over_hosts(np.array([problem is not None])).any():
                return state
            logging.warning(
                "checkpoint %s is damaged (%s); trying the one before it",
                self.folder / str(step),
                problem or "on another host",
            )
            self._set_aside(step)
        if list(self.folder.parent.glob("damaged-*")):
            raise UserError(
                f"all checkpoints in {self.folder} are damaged (moved to {self.folder.parent}/damaged-*): "
                "delete those to train from the start"
            )
        return None

    def _try(self, step: int, like: TrainState) -> tuple[TrainState | None, str | None]:
        """(state, None), or (None, what is wrong with the checkpoint)."""
        try:
            card = self._manager.restore(step, args=ocp.args.Composite(card=ocp.args.JsonRestore())).card
        except Exception as error:  # orbax and tensorstore raise many kinds
            return None, _first_line(error)
        if card["of"] != self.of:
            raise UserError(f"{self.folder} is of a student of another teacher: delete it to train again")
        if card["shapes"] != _shapes(like):
            raise UserError(
                f"{self.folder} holds another model than this config's (another number of classes?): "
                "delete it to train again"
            )
        try:
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
            state = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))).state
        except Exception as error:
            return None, _first_line(error)
        for (path, _), found, saved in zip(
            jax.tree_util.tree_leaves_with_path(like), self._checksum_list(state), card["checksums"], strict=True
        ):
            if found != saved:
                return None, f"the checksum of {jax.tree_util.keystr(path)} does not match"
        return state, None

    def _set_aside(self, step: int) -> None:
        self._manager.close()
        barrier(f"damaged-{step}")
        if is_lead():
            target = self.folder.parent / f"damaged-{step}"
            if target.exists():
                target.rmtree()
            (self.folder / str(step)).rename(target)
        barrier(f"moved-{step}")
        self._open()

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def find_checkpoint(path: epath.Path) -> epath.Path | None:
    """A checkpoint: `path` itself, or the newest in that folder; None where there is none."""
    if (path / "state").exists() and (path / "card").exists():
        return path
    steps = [int(one.name) for one in path.glob("*") if one.name.isdigit() and (one / "state").exists()]
    return path / str(max(steps)) if steps else None


def read_ema(path: epath.Path) -> tuple[dict, dict]:
    """A checkpoint's EMA, {params, batch_stats} as NumPy arrays, and the card of its model.

    Raises:
      UserError: it is damaged, or has no such card.
    """
    try:
        card = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(path / "card")
        reader = ocp.PyTreeCheckpointer()
        saved = reader.metadata(path / "state").item_metadata.tree
        wanted = {name: saved[name] for name in ("ema_params", "ema_batch_stats")}
        as_arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        found = reader.restore(
            path / "state", args=ocp.args.PyTreeRestore(item=wanted, restore_args=as_arrays, partial_restore=True)
        )
    except Exception as error:  # orbax and tensorstore raise many kinds
        raise UserError(f"checkpoint {path} is damaged ({_first_line(error)})") from None
    if not card.get("model"):
        raise UserError(f"checkpoint {path} does not say which model it is of: open its run's model folder instead")
    expected = {name: value for (name, _, _), value in zip(card["shapes"], card["checksums"], strict=True)}
    for name, tree in found.items():
        for (where, _), value in zip(jax.tree_util.tree_leaves_with_path(tree), tree_checksums(tree), strict=True):
            key = jax.tree_util.keystr(where)
            if int(value) != expected[f".{name}{key}"]:
                raise UserError(f"checkpoint {path} is damaged (the checksum of {key} does not match)")
    return {"params": found["ema_params"], "batch_stats": found["ema_batch_stats"]}, card["model"]


def _shapes(state: TrainState) -> list:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [[jax.tree_util.keystr(path), list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
