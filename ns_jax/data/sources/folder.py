"""Source 'folder:PATH': one sub-folder per class, or images without sub-folders (no labels).

Images may lie in deeper folders, too: the class is the first sub-folder. Hidden files and folders are left out.
"""

import os

from ns_jax.data.sources.base import IMAGE_SUFFIXES, Source
from ns_jax.data.sources.files import is_image, note_of_others, source_of_files
from ns_jax.errors import UserError


def _visible_files(path: str) -> list[str]:
    """Paths, relative to a folder, of the files in it and below it, in order; links are followed."""
    files, seen = [], set()
    for folder, inner, names in os.walk(path, followlinks=True):
        if os.path.realpath(folder) in seen:  # a link back
            inner.clear()
            continue
        seen.add(os.path.realpath(folder))
        inner[:] = [name for name in inner if not name.startswith(".")]
        below = os.path.relpath(folder, path)
        for name in names:
            if not name.startswith("."):
                files.append(name if below == "." else os.path.join(below, name))
    return sorted(files, key=lambda file: file.split(os.sep))


def _class_folders(path: str) -> list[str]:
    """Names of the sub-folders, sorted; hidden ones are left out."""
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _problem_with_classes(images: list[str], classes: list[str]) -> str:
    """What keeps sub-folders from being classes, or ''."""
    if any(os.sep not in image for image in images):
        return (
            f"it holds both images and sub-folders ({classes[0]!r}); it is either one sub-folder per class, or images "
            "without labels"
        )
    with_images = {image.split(os.sep)[0] for image in images}
    empty = [name for name in classes if name not in with_images]
    return f"no images in it for class {empty[0]!r}" if empty else ""


def open_folder(path: str, data_dir: str, labels: bool = True) -> Source:
    """Opens a folder of images as it is now.

    Args:
      path: of the folder.
      data_dir: not used.
      labels: whether it must make sense as classes; without, images may lie wherever they want to.

    Raises:
      UserError: there is no such folder, it holds no images or a class without any, or both images and sub-folders.
    """
    del data_dir
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise UserError(f"folder:{path}: there is no such folder")
    files = _visible_files(path)
    images = [file for file in files if is_image(os.path.join(path, file))]
    if not images:
        others = "".join(f"; {note}" for note in note_of_others(files))
        raise UserError(
            f"folder:{path}: no images in it ({', '.join(IMAGE_SUFFIXES)}){others}; put them into one sub-folder per "
            "class, or straight into it if they have no labels"
        )
    classes = _class_folders(path)
    if classes and (problem := _problem_with_classes(images, classes)):
        if labels:
            raise UserError(f"folder:{path}: {problem}")
        classes = []
    number = {name: label for label, name in enumerate(classes)}
    return source_of_files(
        f"folder:{path}",
        paths=[os.path.join(path, image) for image in images],
        ids=[image.replace(os.sep, "/") for image in images],
        labels=[number[image.split(os.sep)[0]] if classes else -1 for image in images],
        class_names=classes,
        notes=note_of_others(sorted(set(files) - set(images))),
    )
