"""Sources of images in shards: files of many images each, local or in a bucket.

  arrayrecord:GLOB   of tf.train.Examples, as `ns_jax.pack` and TFDS write them: random access, the fastest
  tfrecord:GLOB      of tf.train.Examples, not compressed: ImageNet's, the official project's unlabeled images
  wds:GLOB           tar, not compressed, as webdataset has them: NAME.jpg, and NAME.cls for the label
  parquet:GLOB       with a column `image`, and perhaps `label`, as Hugging Face has them: to be read in order

GLOB may be followed by :KEY=VALUE,...: image and label name features of the records, first_label the number of the
first class, classes a file of names or how many there are, and checked=yes says that every image decodes.
"""

from collections.abc import Callable

from ns_jax.data.shards.source import open_shards
from ns_jax.data.sources.base import Source


def _opener(kind: str) -> Callable[..., Source]:
    """The function that opens sources of a kind, see `open_shards`; it does not use `data_dir`."""

    def open_kind(rest: str, data_dir: str, cache_dir: str = "") -> Source:
        del data_dir
        return open_shards(kind, rest, cache_dir)

    return open_kind


open_array_record = _opener("arrayrecord")
open_tfrecord = _opener("tfrecord")
open_wds = _opener("wds")
open_parquet = _opener("parquet")
