"""Source 'solar_cells:SPLIT[:DRAW[:COUNT]]': photographs of solar cells by their own light, whole or defective.

2,624 grey images of 300 x 300 px (electroluminescence) of the ELPV data set (Buerhop-Lutz et al. 2018, Deitsch et al.
2019), which the PyPI package elpv-dataset ships under CC BY-NC-SA 4.0. The probability of a defect is 0, 1/3, 2/3 or 1:
below 1/2 is functional. SPLIT is test (656, the same in every draw), labeled (COUNT of each class, 50 by default),
unlabeled (the rest) or train (labeled and unlabeled together). DRAW is the number of the draw, 0 by default.
"""

import csv
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ns_jax.data.decode import decode_image
from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.files import package_folder

CLASSES = ("functional", "defective")
SPLITS = ("labeled", "unlabeled", "train", "test")
SEED = 20191111  # of the splits, fixed for ever
TEST_SHARE = 0.25  # of each class


class Cells(NamedTuple):
    """The files of the package in its order, their labels int32 [2624], and the probability of a defect, float32."""

    paths: list[str]
    labels: np.ndarray
    defect: np.ndarray


def read_package() -> Cells:
    """Reads the list of images that the package elpv-dataset holds.

    Raises:
      UserError: it is not installed.
    """
    package = package_folder("elpv_dataset")
    if package is None:
        raise UserError("source 'solar_cells:' needs the package elpv-dataset: pip install 'ns_jax[solar]'")
    folder = os.path.join(package, "data")
    paths, defect = [], []
    with open(os.path.join(folder, "labels.csv"), newline="") as file:
        for row in csv.reader(file, delimiter=" ", skipinitialspace=True):
            paths.append(os.path.join(folder, row[0]))
            defect.append(float(row[1]))
    probability = np.array(defect, np.float32)
    return Cells(paths, (probability > 0.5).astype(np.int32), probability)


def split_indices(split: str, labels: np.ndarray, draw: int = 0, count: int = 50) -> np.ndarray:
    """Positions of the images of `split`, int64, ascending.

    Args:
      split: one of SPLITS.
      labels: int [N].
      draw: which choice of labeled images.
      count: labeled images of each class.

    Raises:
      UserError: a class has not as many images.
    """
    chosen = []
    for number, name in enumerate(CLASSES):
        members = np.flatnonzero(labels == number)
        members = np.random.Generator(np.random.PCG64([SEED, number])).permutation(members)
        num_test = round(TEST_SHARE * len(members))
        test, rest = members[:num_test], members[num_test:]
        if count >= len(rest):
            raise UserError(f"solar_cells has {len(rest)} training images of class {name}, and {count} are asked for")
        rest = np.random.Generator(np.random.PCG64([SEED, number, draw])).permutation(rest)
        parts = {"test": test, "labeled": rest[:count], "unlabeled": rest[count:], "train": rest}
        chosen.append(parts[split])
    return np.sort(np.concatenate(chosen))


def _numbers(name: str, rest: list[str]) -> list[int]:
    """[DRAW] or [DRAW, COUNT] of 'SPLIT:DRAW:COUNT'."""
    if len(rest) > 2 or not all(part.isdecimal() for part in rest):
        raise UserError(f"solar_cells:{name}: write solar_cells:SPLIT, or SPLIT:DRAW or SPLIT:DRAW:COUNT with numbers")
    return [int(part) for part in rest]


def open_solar_cells(name: str, data_dir: str) -> Source:
    """Opens a split of the solar cells; `data_dir` is not used.

    Raises:
      UserError: elpv-dataset is not installed, or there is no such split.
    """
    del data_dir
    split, *rest = name.split(":")
    if split not in SPLITS:
        raise UserError(f"solar_cells has the splits {', '.join(SPLITS)}, not {split!r}")
    cells = read_package()
    chosen = split_indices(split, cells.labels, *_numbers(name, rest))
    paths = tf.constant([cells.paths[index] for index in chosen])
    labels = tf.constant(cells.labels[chosen])
    names = np.array([os.path.basename(cells.paths[index]).encode() for index in chosen])

    def encoded(index):
        return tf.io.read_file(paths[index])

    return Source(
        name=f"solar_cells:{name}",
        count=len(chosen),
        class_names=CLASSES,
        load=lambda index, window=None: (decode_image(encoded(index), window), labels[index]),
        ids=lambda indices: names[indices],
        encoded=encoded,
    )
