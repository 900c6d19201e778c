"""The selected pseudo-labels, joined to the images that they belong to."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from ns_jax.buckets import is_bucket
from ns_jax.pseudo_labels.copies import CopiesIndex
from ns_jax.pseudo_labels.joined import Joined
from ns_jax.pseudo_labels.remote import RemoteProbabilities
from ns_jax.pseudo_labels.store import LabelStore, Selection

REMOTE_READS = 64  # shards in a bucket that are read from at the same time


class TrainingTable:
    """The selected pseudo-labels of the images of a source; the probabilities stay in their files.

    Args:
      store: a complete label store.
      selection: a complete selection of it.
      source_ids: int64 indices [N] to the source's ids [N].
      identity: of the source, see `Joined`.

    Attributes:
      copies: of the images; those in the order of the source.
      num_classes: of the probabilities.

    Raises:
      UserError: an image that one of the three has and another lacks (names the shard), or more copies than the
        selection's manifest says.
    """

    def __init__(
        self,
        store: LabelStore,
        selection: Selection,
        source_ids: Callable[[np.ndarray], np.ndarray],
        identity: str = "",
    ):
        joined, self._store = Joined(store, selection, source_ids, identity), store
        self.num_classes = len(store.manifest("class_names")["class_names"])
        self._starts = np.array([start for start, _ in joined.ranges], np.int64)
        self._remote = RemoteProbabilities()
        self._rows: dict[int, np.ndarray] = {}  # int32 row of each image, of shards whose rows are not the images
        most = selection.manifest().get("copies", np.inf)  # a flipped bit is billions
        self.copies = CopiesIndex(self._copies_of_images(joined, selection, most), joined.ranges[-1][1])

    def _copies_of_images(self, joined: Joined, selection: Selection, most: float) -> Iterator[np.ndarray]:
        """Yields the copies of the images of each shard, uint32."""
        left = most
        for shard, (start, stop) in enumerate(joined.ranges):
            copies, places = joined.rows(shard)
            left -= float(copies.sum(dtype=np.uint64))
            if left < 0:
                raise selection.damaged(shard, "more copies than its manifest says")
            if places is not None and not np.array_equal(places, np.arange(stop - start)):
                rows = np.full(stop - start, -1, np.int32)
                rows[places] = np.arange(len(places))
                self._rows[shard] = rows
                of_images = np.zeros(stop - start, np.uint32)
                of_images[places] = copies
                copies = of_images
            yield copies

    def _read(self, shard: int, rows: np.ndarray) -> np.ndarray:
        """As `LabelStore.read_probabilities`; of a file in a bucket only the rows."""
        if is_bucket(self._store.folder):
            with contextlib.suppress(FileNotFoundError):  # of version 0.1, or the store says what is missing
                return self._remote.read(self._store.probabilities_path(shard), rows)
        return self._store.read_probabilities(shard, rows)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of images with a pseudo-label, int64 [N] into the source: float32 [N, classes].

        Raises:
          UserError: a shard cannot be read.
        """
        probs = np.empty((len(images), self.num_classes), np.float32)
        shards = np.searchsorted(self._starts, images, "right") - 1

        def read(shard: int) -> None:
            places = np.flatnonzero(shards == shard)
            rows = images[places] - self._starts[shard]
            if shard in self._rows:
                rows = self._rows[shard][rows].astype(np.int64)
            probs[places] = self._read(shard, rows)

        numbers = np.unique(shards).tolist()
        if len(numbers) > 1 and is_bucket(self._store.folder):
            with concurrent.futures.ThreadPoolExecutor(min(REMOTE_READS, len(numbers))) as pool:
                list(pool.map(read, numbers))
        else:
            for number in numbers:
                read(number)
        return probs
