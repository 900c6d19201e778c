"""Sources of images in shards: files of many images each, local or in a bucket.

  arrayrecord:GLOB   of tf.train.Examples, as `ns_jax.pack` and TFDS write them: random access, the fastest
  tfrecord:GLOB      of tf.train.Examples, not compressed: ImageNet's, the official project's unlabeled images
  wds:GLOB           tar, not compressed, as webdataset has them: NAME.jpg, and NAME.cls for the label
  parquet:GLOB       with a column `image`, and perhaps `label`, as Hugging Face has them: to be read in order

GLOB may be followed by :KEY=VALUE,...: image and label name features of the records, first_label the number of the
first class, classes a file of names or how many there are, and checked=yes says that every image decodes.
"""

from ns_jax.data.shards.source import open_shards
from ns_jax.data.sources.base import Source


def open_array_record(rest: str, data_dir: str, cache_dir: str = "") -> Source:
    """Opens ArrayRecord files, see `open_shards`; `data_dir` is not used."""
    del data_dir
    return open_shards("arrayrecord", rest, cache_dir)


def open_tfrecord(rest: str, data_dir: str, cache_dir: str = "") -> Source:
    """Opens TFRecord files, see `open_shards`; `data_dir` is not used."""
    del data_dir
    return open_shards("tfrecord", rest, cache_dir)


def open_wds(rest: str, data_dir: str, cache_dir: str = "") -> Source:
    """Opens tar files, see `open_shards`; `data_dir` is not used."""
    del data_dir
    return open_shards("wds", rest, cache_dir)


def open_parquet(rest: str, data_dir: str, cache_dir: str = "") -> Source:
    """Opens Parquet files, see `open_shards`; `data_dir` is not used."""
    del data_dir
    return open_shards("parquet", rest, cache_dir)
