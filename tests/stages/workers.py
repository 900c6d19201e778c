"""Processes that label shards together: the stage's own code with a teacher that is no network."""

import multiprocessing
import os
import pathlib
import socket
import sys
import time
import types

import numpy as np
from etils import epath

SIZE, CLASSES = 5, 4  # images of a shard; one image in seven cannot be read


class Teacher:
    """Probabilities float16-exact that depend on an image's index alone; a shard takes `seconds`."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def lists(self, source, lists):
        for indices in lists:
            time.sleep(self.seconds)
            yield np.random.default_rng(len(indices)).dirichlet(np.ones(CLASSES), len(indices)).astype(np.float32)


def ids(indices) -> np.ndarray:
    return np.char.mod(b"image-%05d", indices)


def label(folder, num_shards: int, seconds: float = 0.0) -> int:
    """Labels what is missing; how many shards this process wrote."""
    from ns_jax.pseudo_labels.store import LabelStore, shard_ranges
    from ns_jax.stages.label_shards import label_shards

    count = num_shards * SIZE
    readable = np.array([index for index in range(count) if index % 7], np.int64)
    source = types.SimpleNamespace(ids=ids)
    ranges = shard_ranges(count, SIZE)
    return label_shards(LabelStore(epath.Path(folder)), source, readable, ranges, lambda: Teacher(seconds), "label")


def be_worker(folder, num_shards: int, seconds: float, host: str, lease_seconds: float) -> None:
    """A process of the machine called `host`; its claims last `lease_seconds` after its death."""
    from ns_jax.experiment import lease

    if host:
        socket.gethostname = lambda: host
    lease.LEASE, lease.BEAT = lease_seconds, lease_seconds / 5
    with open(os.devnull, "w") as sys.stdout:
        label(folder, num_shards, seconds)


def forks():
    """Forks processes of a server that has imported the stage."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ns_jax.stages.label_shards"])
    return context


def start(context, folder: pathlib.Path, num_shards: int, seconds: float, host: str = "", lease_seconds: float = 60.0):
    process = context.Process(target=be_worker, args=(str(folder), num_shards, seconds, host, lease_seconds))
    process.start()
    return process


def written(folder: pathlib.Path) -> dict[str, bytes]:
    """The files of a store, but for those that were left half written, and what is in them."""
    return {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file() and path.suffix != ".tmp"}
