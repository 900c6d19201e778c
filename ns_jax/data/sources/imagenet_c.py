"""Source 'imagenet_c:PATH': ImageNet-C in its official layout, PATH/CORRUPTION/SEVERITY/CLASS/image.

The five archives may also lie unpacked in folders of their own, as PATH/blur/defocus_blur. 'imagenet_c:tfds:NAME/SPLIT'
takes the configurations CORRUPTION_SEVERITY of a data set of TFDS, as imagenet2012_corrupted/validation, that have been
prepared. Corruptions and severities that are not there are missing from `Source.parts`; who measures says so.
"""

import os

import numpy as np

from ns_jax.data.corruptions.tables import CORRUPTIONS, SEVERITIES
from ns_jax.data.sources.base import Part, Source
from ns_jax.data.sources.files import is_image, source_of_files
from ns_jax.errors import UserError


def open_imagenet_c(path: str, data_dir: str) -> Source:
    """Opens the images of all corruptions and severities that are there.

    Raises:
      UserError: there is no such folder or data set, or nothing of ImageNet-C in it.
    """
    if path.startswith("tfds:"):
        return open_prepared(path.removeprefix("tfds:"), data_dir)
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise UserError(f"imagenet_c:{path}: there is no such folder")
    paths: list[str] = []
    ids, classes, parts = [], [], []
    for corruption in CORRUPTIONS:
        folder = folder_of(path, corruption)
        for severity in SEVERITIES if folder else ():
            images = images_by_class(os.path.join(folder, str(severity)))
            if not images:
                continue
            parts.append(Part(f"{corruption}/{severity}", len(paths), len(paths) + len(images)))
            for name, image in images:
                paths.append(os.path.join(folder, str(severity), name, image))
                ids.append(f"{corruption}/{severity}/{name}/{image}")
                classes.append(name)
    if not parts:
        raise UserError(
            f"imagenet_c:{path}: no images in it; they lie in CORRUPTION/SEVERITY/CLASS, as in "
            f"gaussian_noise/1/n01440764, and the corruptions are {', '.join(CORRUPTIONS)}"
        )
    names = sorted(set(classes))
    number = {name: place for place, name in enumerate(names)}
    labels = [number[name] for name in classes]
    return source_of_files(f"imagenet_c:{path}", paths, ids, labels, names, parts=tuple(parts))


def open_prepared(name: str, data_dir: str) -> Source:
    """Opens the configurations CORRUPTION_SEVERITY of a data set of TFDS, NAME/SPLIT; none of them is downloaded.

    Raises:
      UserError: there is no such data set, or none of its configurations has been prepared.
    """
    from ns_jax.data.sources.tfds import prepared, source_of_files  # slow to import

    dataset, _, split = name.rpartition("/")
    files: list = []
    parts, features = [], None
    for corruption in CORRUPTIONS:
        for severity in SEVERITIES:
            on_disk = prepared(f"{dataset}/{corruption}_{severity}/{split}", data_dir)
            if on_disk is None:
                continue
            features, own = on_disk
            start = parts[-1].stop if parts else 0
            parts.append(Part(f"{corruption}/{severity}", start, start + sum(file.take for file in own)))
            files += own
    if not parts:
        raise UserError(
            f"imagenet_c:tfds:{name}: no configuration of {dataset} has been prepared in "
            f"{data_dir or 'the folder of TFDS'}; prepare them, as by: tfds build "
            f"{dataset}/{CORRUPTIONS[0]}_1 --file_format=array_record"
        )
    starts, prefixes = np.array([part.start for part in parts]), np.array([f"{part.name}#".encode() for part in parts])

    def ids(indices):
        numbers = np.searchsorted(starts, indices, "right") - 1
        return np.char.add(prefixes[numbers], np.char.mod(b"%d", indices - starts[numbers]))

    return source_of_files(f"imagenet_c:tfds:{name}", features, files, ids, tuple(parts))


def folder_of(path: str, name: str) -> str:
    """The folder called `name` in a folder, or in one of its folders; '' where there is none."""
    if os.path.isdir(os.path.join(path, name)):
        return os.path.join(path, name)
    for inner in sorted(os.listdir(path)):
        if os.path.isdir(os.path.join(path, inner, name)):
            return os.path.join(path, inner, name)
    return ""


def images_by_class(folder: str) -> list[tuple[str, str]]:
    """(class, file) of the images in a folder's folders, in order; [] where there is no such folder."""
    if not os.path.isdir(folder):
        return []
    pairs = []
    for name in visible(folder):
        inner = os.path.join(folder, name)
        if os.path.isdir(inner):
            pairs += [(name, image) for image in visible(inner) if is_image(os.path.join(inner, image))]
    return pairs


def visible(folder: str) -> list[str]:
    """Names in a folder, sorted; hidden ones are left out."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))
