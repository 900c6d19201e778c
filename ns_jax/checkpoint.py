"""Checkpoints of a run. The only importer of orbax."""

import logging as std_logging

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from ns_jax.errors import UserError
from ns_jax.parallel.hosts import barrier, is_lead
from ns_jax.training.state import TrainState, tree_checksums

# Orbax logs every step of every save, and whole traces of errors that it raises here anyway.
std_logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


class Checkpoints:
    """The newest few checkpoints of a TrainState in a folder, with a checksum of every array."""

    def __init__(self, folder: epath.Path, keep: int):
        self.folder = epath.Path(folder)
        self.keep = keep
        self._checksums = jax.jit(tree_checksums)
        self._open()

    def _open(self):
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(self.keep), create=True)  # fmt: skip
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, state: TrainState, step: int) -> None:
        """Begins to save; returns when the arrays are copied to host memory."""
        checksums = [int(x) for x in jax.device_get(self._checksums(state))]
        self._manager.save(step, args=ocp.args.Composite(
            state=ocp.args.StandardSave(state), checksums=ocp.args.JsonSave(checksums)))  # fmt: skip

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def restore_newest(self, like: TrainState) -> TrainState | None:
        """The newest intact checkpoint, or None where there is none yet.

        A damaged one is moved aside to `damaged-STEP` and the one before is taken; the log says so.

        Args:
          like: a state whose shapes, dtypes and shardings the result has.

        Raises:
          UserError: there are checkpoints, and all of them are damaged.
        """
        steps = self.steps()
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        for step in reversed(steps):
            problem = None
            try:
                found = self._manager.restore(step, args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract), checksums=ocp.args.JsonRestore()))  # fmt: skip
                checksums = [int(x) for x in jax.device_get(self._checksums(found.state))]
                if checksums != found.checksums:
                    wrong = int(np.argmax(np.array(checksums) != np.array(found.checksums)))
                    path = jax.tree_util.tree_leaves_with_path(like)[wrong][0]
                    problem = f"the checksum of {jax.tree_util.keystr(path)} does not match"
            except Exception as error:  # orbax and tensorstore raise many kinds
                problem = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            if problem is None:
                return found.state
            logging.warning("checkpoint %s is damaged (%s); trying the one before it",
                            self.folder / str(step), problem)  # fmt: skip
            self._set_aside(step)
        if steps:
            raise UserError(f"all checkpoints in {self.folder} are damaged (moved to damaged-*): delete "
                            "the folder to train from the start")  # fmt: skip
        return None

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
