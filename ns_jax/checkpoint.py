"""Checkpoints of a run. The only importer of orbax."""

import json
import logging as std_logging
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from ns_jax.errors import AgreedError, UserError
from ns_jax.files import require_space
from ns_jax.parallel.hosts import barrier, gather_texts, on_process_zero
from ns_jax.training.state import TrainState, tree_checksums

RETRY_SECONDS = (1.0, 4.0, 15.0)  # before a host reads again what it could not read
METADATA_ITEM = "card"  # the checkpoint's item of this name, since version 0.1


def _is_not_of_orbax(record: std_logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


class Checkpoints:
    """The newest few checkpoints of a TrainState in a folder, with a checksum of every array.

    Args:
      folder: of the checkpoints.
      keep: how many stay.
      owner: teacher fingerprint; checkpoints with another owner are rejected.
      metadata: of the model in them, with which `read_ema` opens one.
      made_by: from the metadata of a checkpoint that was there to whether this run's config made it.
    """

    def __init__(
        self,
        folder: epath.Path,
        keep: int,
        owner: str = "",
        metadata: dict | None = None,
        made_by: Callable[[dict], bool] = lambda metadata: True,
    ):
        self._made_by = made_by
        self.folder, self.keep, self.owner, self.metadata = epath.Path(folder), keep, owner, metadata
        # Orbax logs every step of every save, and whole traces of errors that it raises here anyway.
        std_logging.getLogger("absl").addFilter(_is_not_of_orbax)
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
        metadata = {
            "of": self.owner,
            "shapes": _shapes(state),
            "checksums": self._checksum_list(state),
            "model": self.metadata and self.metadata | {"steps": step},
        }
        items = {"state": ocp.args.StandardSave(state), METADATA_ITEM: ocp.args.JsonSave(metadata)}
        self._manager.save(step, args=ocp.args.Composite(**items))

    def _checksum_list(self, state) -> list[int]:
        return [int(x) for x in jax.device_get(self._checksums(state))]

    def restore_newest(self, like: TrainState) -> TrainState | None:
        """The newest intact checkpoint, or None where there is none yet.

        A damaged one is moved aside to `damaged-STEP` and the one before is taken; the log says so.

        Args:
          like: shapes, dtypes and shardings of the result.

        Raises:
          UserError: the checkpoints are of another model or teacher, or all of them are damaged.
        """
        for step in self._steps():
            state, problem = self._restore(step, like)
            if problem is None:
                return state
            logging.warning("checkpoint %s is damaged (%s); trying the one before it", self.folder / str(step), problem)
            self._set_aside(step)
        if list(self.folder.parent.glob("damaged-*")):
            raise UserError(
                f"all checkpoints in {self.folder} are damaged (moved to {self.folder.parent}/damaged-*): "
                "delete those to train from the start"
            )
        return None

    def _steps(self) -> list[int]:
        """Those that process 0 sees, newest first: another host's listing of the folder may be of earlier."""
        steps = on_process_zero(lambda: sorted(self._manager.all_steps(), reverse=True))
        return json.loads(gather_texts("steps of checkpoints", json.dumps(steps))[0])

    def _restore(self, step: int, like: TrainState) -> tuple[TrainState | None, str | None]:
        """(state, None), or (None, what is wrong with the checkpoint). One verdict for all hosts after each part."""
        folder = self.folder / str(step)
        metadata, problem = self._read(lambda: _read_metadata(folder), f"the metadata of {folder}")
        if problem:
            return None, problem
        if not isinstance(metadata, dict) or not {"of", "shapes", "checksums"} <= metadata.keys():
            return None, "it does not say what it holds"
        if not self._made_by(metadata.get("model") or {}):
            raise UserError(f"{self.folder} was made by another config than this run has: delete it to train again")
        if metadata["of"] != self.owner:
            raise UserError(f"{self.folder} is of a student of another teacher: delete it to train again")
        if metadata["shapes"] != _shapes(like):
            raise UserError(
                f"{self.folder} holds another model than this config's (another number of classes?): "
                "delete it to train again"
            )
        state, problem = self._read(lambda: _read_state(folder, like), f"the arrays of {folder}")
        if problem:
            return None, problem
        wrong = Reading(self._checksum_problem(state, metadata["checksums"]) or "")
        what = f"the checksums of {folder}"
        return state, agreed_problem(_readings(wrong, what), what)

    def _read(self, read: Callable, what: str) -> tuple:
        """(what `read` gives, None), or (None, what is wrong with it). All hosts give the same verdict.

        No host waits for another within `read`: one that fails there tries again, and then says so.

        Raises:
          UserError: a host cannot read it, and nothing says that it is damaged.
        """
        value, reading = None, Reading("")
        for pause in (*RETRY_SECONDS, None):
            try:
                value, reading = read(), Reading("")
                break
            except Exception as error:  # orbax and tensorstore raise many kinds
                reading = Reading(_first_line(error), is_unreadable(error))
            if pause is None or not reading.unreadable:
                break
            time.sleep(pause)
        problem = agreed_problem(_readings(reading, what), what)
        return (None, problem) if problem else (value, None)

    def _checksum_problem(self, state: TrainState, saved: list[int]) -> str | None:
        """Names the first array whose checksum is another than `saved`."""
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
        for path, now, before in zip(paths, self._checksum_list(state), saved, strict=True):
            if now != before:
                return f"the checksum of {jax.tree_util.keystr(path)} does not match"
        return None

    def _set_aside(self, step: int) -> None:
        self._manager.close()
        barrier(f"damaged-{step}")

        def move() -> None:
            target = self.folder.parent / f"damaged-{step}"
            if target.exists():
                target.rmtree()
            (self.folder / str(step)).rename(target)

        on_process_zero(move)
        self._open()

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


class Reading(NamedTuple):
    """How a host fared in reading.

    Attributes:
      problem: what went wrong, '' where nothing did.
      unreadable: whether a disk or a network said so, of which the checkpoint may know nothing.
      host: whose.
    """

    problem: str
    unreadable: bool = False
    host: str = ""


def _readings(own: Reading, what: str) -> list[Reading]:
    """How all hosts fared, in the order of processes."""
    host = f"{socket.gethostname()} (process {jax.process_index()})"
    texts = gather_texts(f"reading {what}", json.dumps(own._replace(host=host)))
    return [Reading(*json.loads(text)) for text in texts]


def agreed_problem(readings: list[Reading], what: str) -> str | None:
    """What is wrong with a part of a checkpoint, by how all hosts fared; None: nothing.

    Raises:
      UserError: a host cannot read it though it may be whole.
    """
    failed = [reading for reading in readings if reading.problem]
    if not failed:
        return None
    unreadable = [reading for reading in failed if reading.unreadable]
    if unreadable:
        more = f", and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        raise AgreedError(
            f"host {unreadable[0].host}{more} cannot read {what} ({unreadable[0].problem}): look at its disk or "
            "network, and start again; if it is lost, delete that checkpoint to continue from the one before"
        )
    first = failed[0]
    return first.problem if len(failed) == len(readings) else f"{first.problem}, on host {first.host}"


# What tensorstore and gRPC say of a disk or network.
UNREADABLE = (
    "UNAVAILABLE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "Input/output error",
    "Stale file handle",
    "Connection",
    "timed out",
)


def is_unreadable(error: BaseException | None) -> bool:
    """Whether an error is of a disk or a network, and not of what a file holds."""
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | NotADirectoryError):
            return True
        if any(word in str(error) for word in UNREADABLE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _read_metadata(folder: epath.Path) -> dict:
    """A checkpoint's metadata, by this host alone."""
    return ocp.JsonCheckpointHandler().restore(folder / METADATA_ITEM)


def _read_state(folder: epath.Path, like: TrainState) -> TrainState:
    """This host's parts of a checkpoint's arrays. Unlike CheckpointManager.restore, it waits for no other host."""
    handler = ocp.StandardCheckpointHandler()
    try:
        return handler.restore(folder / "state", args=ocp.args.StandardRestore(like))
    finally:
        handler.close()


def find_checkpoint(path: epath.Path) -> epath.Path | None:
    """A checkpoint: `path` itself, or the newest in that folder; None where there is none."""
    if (path / "state").exists() and (path / METADATA_ITEM).exists():
        return path
    inside = [folder for folder in path.glob("*") if folder.name.isdecimal() and (folder / "state").exists()]
    steps = [int(folder.name) for folder in inside]
    return path / str(max(steps)) if steps else None


def read_ema(path: epath.Path) -> tuple[dict, dict]:
    """A checkpoint's EMA, {params, batch_stats} as NumPy arrays, and the metadata of its model.

    Raises:
      UserError: it is damaged, or has no such metadata.
    """
    try:
        metadata = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(path / METADATA_ITEM)
        reader = ocp.PyTreeCheckpointer()
        saved = reader.metadata(path / "state").item_metadata.tree
        wanted = {name: saved.get(name, {}) for name in ("ema_params", "ema_batch_stats")}
        as_arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        restore = ocp.args.PyTreeRestore(item=wanted, restore_args=as_arrays, partial_restore=True)
        averages = reader.restore(path / "state", args=restore)
    except Exception as error:  # orbax and tensorstore raise many kinds
        raise UserError(f"checkpoint {path} is damaged ({_first_line(error)})") from None
    if not metadata.get("model"):
        raise UserError(f"checkpoint {path} does not say which model it is of: open its run's model folder instead")
    expected = {name: value for (name, _, _), value in zip(metadata["shapes"], metadata["checksums"], strict=True)}
    for name, tree in averages.items():
        for (where, _), value in zip(jax.tree_util.tree_leaves_with_path(tree), tree_checksums(tree), strict=True):
            key = jax.tree_util.keystr(where)
            if int(value) != expected[f".{name}{key}"]:
                raise UserError(f"checkpoint {path} is damaged (the checksum of {key} does not match)")
    variables = {"params": averages["ema_params"], "batch_stats": averages.get("ema_batch_stats") or {}}
    return variables, metadata["model"]


def _shapes(state: TrainState) -> list:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [[jax.tree_util.keystr(path), list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
