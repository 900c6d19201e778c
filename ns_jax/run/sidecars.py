"""Shards of pseudo-labels and selections are looked through before they are used, each by one of the hosts."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from ns_jax.errors import UserError
from ns_jax.files import file_sha256
from ns_jax.parallel.hosts import sum_over_hosts
from ns_jax.pseudo_labels.check import values_problem
from ns_jax.pseudo_labels.store import LabelStore, Sidecar


def check_shards(sidecar: Sidecar, num_shards: int, check: Callable[[int], object]) -> list[str]:
    """Calls `check` of every shard on one host. All hosts call it together.

    Returns:
      The SHA-256 of every shard.

    Raises:
      UserError: what `check` raises, of the first shard of which it does, on every host.
    """
    digests, is_bad = np.zeros((num_shards, 32), np.uint8), np.zeros(num_shards, np.int64)
    for shard in range(jax.process_index(), num_shards, jax.process_count()):
        try:
            check(shard)
            digests[shard] = np.frombuffer(bytes.fromhex(file_sha256(sidecar.shard_path(shard))), np.uint8)
        except (UserError, FileNotFoundError):
            is_bad[shard] = 1
    digests, is_bad = sum_over_hosts(digests), sum_over_hosts(is_bad)
    if is_bad.any():
        first = int(is_bad.argmax())
        check(first)
        raise UserError(f"{sidecar.shard_path(first)} cannot be read on every host: is it in a shared folder?")
    return [digest.tobytes().hex() for digest in digests]


def check_labels(store: LabelStore, ranges: Sequence[tuple[int, int]], num_classes: int) -> list[str]:
    """As `check_shards`, of the columns: they must be possible ones of `num_classes` classes.

    Probabilities were looked at before they were written, and the columns hold the SHA-256 of their file.
    """

    def check(shard: int) -> None:
        start, stop = ranges[shard]
        if problem := values_problem(store.read_shard(shard), num_classes, stop - start):
            raise store.damaged(shard, problem)

    return check_shards(store, len(ranges), check)


def check_unchanged(sidecar: Sidecar) -> None:
    """Checks that a complete store or selection holds what was written. All hosts call it together.

    Raises:
      UserError: a shard is missing, or has another SHA-256 than the manifest says.
    """
    manifest = sidecar.manifest("ranges")
    expected = manifest.get("sha256")  # version 0.1 has none
    digests = check_shards(sidecar, len(manifest["ranges"]), sidecar.check_files)
    for shard, digest in enumerate(digests):
        if expected is not None and digest != expected[shard]:
            raise sidecar.damaged(shard, "its SHA-256 is not the one in the manifest")
