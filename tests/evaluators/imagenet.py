"""A few generated images in the official layouts of ImageNet's test sets, and a tiny model of its 1000 classes."""

import numpy as np
import PIL.Image
from etils import epath

from ns_jax.artifact.class_names import wordnet_ids
from ns_jax.data.corruptions.sequences import PERTURBATIONS
from ns_jax.data.corruptions.tables import CORRUPTIONS, SEVERITIES
from ns_jax.evaluators.own_classes import published_subsets
from ns_jax.files import write_json
from ns_jax.interop import formats
from tests.interop.weights import random_artifact
from tests.tiny_model import TINY

SIDE, FRAMES = 28, 4


def write_image(path, number: int) -> None:
    """A random image of the demo's size, another one for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    PIL.Image.fromarray(coarse).resize((SIDE, SIDE), PIL.Image.Resampling.BILINEAR).save(path)


def write_sets(root, corruptions=CORRUPTIONS, severities=SEVERITIES, perturbations=PERTURBATIONS) -> None:
    """Writes val, real.json, V2, -A, -R, sketch, -C and -P below `root`: 2 classes, 2 images of each."""
    names = wordnet_ids()
    number = 0
    places = {
        "val": (0, 1),
        "sketch": (0, 1),
        "imagenetv2-matched-frequency-format-val": (0, 1),
        "imagenet-a": published_subsets()["imagenet_a"][:2],
        "imagenet-r": published_subsets()["imagenet_r"][:2],
    }
    for folder, classes in places.items():
        for place in classes:
            name = str(place) if folder.startswith("imagenetv2") else names[place]
            for _ in range(2):
                number += 1
                write_image(root / folder / name / f"ILSVRC2012_val_{number:08d}.png", number)
    write_json(epath.Path(root / "real.json"), [[0, 1], [0], [], [1, 5]])
    for corruption in corruptions:
        for severity in severities:
            for place in (0, 1):
                number += 1
                write_image(root / "imagenet-c" / corruption / str(severity) / names[place] / f"{number}.png", number)
    for perturbation in perturbations:
        for place in (0, 1):
            for frame in range(FRAMES):
                number += 1
                write_image(root / "imagenet-p" / perturbation / names[place] / "sequence" / f"{frame}.png", number)


def write_model(folder) -> None:
    """A tiny model with random weights. Open it with variant=TINY."""
    artifact = random_artifact(TINY, 1000)
    # Its answers are those classes of which there are images, else none would be right.
    classifier, places = artifact.variables["params"]["classifier"], places_with_images()
    classifier["bias"][places] += 4
    classifier["kernel"][:, places] *= 10  # and not always the same one
    formats.write(epath.Path(folder), artifact, "artifact")


def places_with_images() -> list[int]:
    """Places of the classes that `write_sets` writes."""
    subsets = published_subsets()
    return [0, 1, *subsets["imagenet_a"][:2], *subsets["imagenet_r"][:2]]
