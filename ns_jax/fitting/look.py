"""A look at somebody's images before anything is planned: how many of which class, how large, and what is wrong."""

import dataclasses

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ns_jax.data.pipeline import readable_examples
from ns_jax.data.sampling import labels_of
from ns_jax.data.sizes import shorter_sides
from ns_jax.data.sources.registry import OpenSources
from ns_jax.errors import UserError
from ns_jax.run.inputs import check_all_classes, check_apart, check_classes


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the images are.

    Attributes:
      class_names: of the labeled images.
      counts: int [classes], labeled images that can be read.
      num_unlabeled: images without labels that can be read.
      num_test: labeled images to test on; 0 where there are none.
      shorter_side: median of the shorter sides of some hundred images, pixels.
      smallest_side: of these images, pixels.
      num_broken: images that cannot be read.
    """

    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    num_unlabeled: int
    num_test: int
    shorter_side: int
    smallest_side: int
    num_broken: int

    @property
    def num_labeled(self) -> int:
        return sum(self.counts)


def look(data: ConfigDict, cache: epath.Path) -> Seen:
    """Opens and reads all images once; which of them are broken is remembered in `cache`.

    Args:
      data: the section `data` of a config.
      cache: the folder `data` of the run.

    Raises:
      UserError: a source cannot be opened, more images are broken than the config allows, there are no labels, or
        none of a class, the test has other classes, or the labeled images are the unlabeled ones, too.
    """
    opened = OpenSources(data.dir)
    if data.corrections:
        labeled = opened.open_corrected(data.labeled, data.unlabeled, data.corrections, data.exif_orientation)
    else:
        labeled = opened.open(data.labeled, True, data.exif_orientation)
    if not labeled.num_classes:
        raise UserError(
            f"{labeled.name} has no classes: put the labeled images into one sub-folder per class, or name a table "
            "with the columns path and label"
        )
    check_all_classes(labeled)
    unlabeled = opened.open(data.unlabeled, False, data.exif_orientation)
    check_apart(opened.open(data.labeled, True, data.exif_orientation), unlabeled)
    sources = {"labeled": labeled, "unlabeled": unlabeled}
    if data.test:
        sources["test"] = opened.open(data.test, True, data.exif_orientation)
        check_classes(labeled.name, labeled.class_names, sources["test"])
    readable = {field: readable_examples(source, data.max_broken_fraction, cache) for field, source in sources.items()}
    counts = np.bincount(labels_of(labeled, readable["labeled"]), minlength=labeled.num_classes)
    sides = shorter_sides(unlabeled, readable["unlabeled"])
    broken = sum(source.count for source in sources.values()) - sum(map(len, readable.values()))
    return Seen(
        labeled.class_names,
        tuple(counts.tolist()),
        len(readable["unlabeled"]),
        len(readable.get("test", ())),
        int(np.median(sides)),
        int(sides.min()),
        broken,
    )
