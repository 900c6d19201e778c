"""Source 'folder:PATH': one sub-folder per class, or images without sub-folders (no labels).

Images may lie in deeper folders, too: the class is the first sub-folder. What is left out is said.
"""

import hashlib
import os
from typing import NamedTuple, NoReturn

from ns_jax import buckets
from ns_jax.data.sources.base import IMAGE_SUFFIXES, Source
from ns_jax.data.sources.files import first_names, is_image, note_of_others, printable, source_of_files
from ns_jax.errors import UserError


class _Listing(NamedTuple):
    """What lies in a folder and below it, as paths relative to it, in order.

    Attributes:
      files: those that are not hidden.
      hidden: files and folders whose name begins with a dot, and those that macOS puts into archives.
      back: links to a folder in which they are.
    """

    files: list[str]
    hidden: list[str]
    back: list[str]

    def notes(self, path: str, images: list[str]) -> tuple[str, ...]:
        """What is left out, a sentence for each reason."""
        notes = note_of_others(path, sorted(set(self.files) - set(images)))
        if self.hidden:
            notes += (f"{len(self.hidden)} hidden files or folders are left out: {first_names(self.hidden)}",)
        if self.back:
            notes += (f"{len(self.back)} links to folders that are read anyway are left out: {first_names(self.back)}",)
        return notes


def _list(path: str) -> _Listing:
    """Lists a folder; links are followed.

    Raises:
      UserError: a folder in it cannot be read.
    """
    listing, seen = _Listing([], [], []), set()

    def refuse(error: OSError) -> NoReturn:
        raise UserError(f"folder:{path}: {printable(str(error.filename))} cannot be read ({error.strerror})")

    for folder, inner, names in os.walk(path, onerror=refuse, followlinks=True):
        below = os.path.relpath(folder, path)
        if os.path.realpath(folder) in seen:
            listing.back.append(below)
            inner.clear()
            continue
        seen.add(os.path.realpath(folder))
        for name in (*inner, *names):
            place = name if below == "." else os.path.join(below, name)
            if _is_hidden(name):
                listing.hidden.append(place)
            elif name in names:
                listing.files.append(place)
        inner[:] = [name for name in inner if not _is_hidden(name)]
    for part in listing:
        part.sort(key=lambda file: file.split(os.sep))
    return listing


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _class_folders(path: str) -> list[str]:
    """Names of the sub-folders, sorted; hidden ones are left out."""
    return sorted(name for name in os.listdir(path) if os.path.isdir(os.path.join(path, name)) and not _is_hidden(name))


def _vanished_classes(path: str, files: list[str]) -> list[str]:
    """Names beside the sub-folders that are links to nothing, and may have been links to folders."""
    beside = [file for file in files if os.sep not in file and not os.path.splitext(file)[1]]
    return [file for file in beside if not os.path.exists(os.path.join(path, file))]


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
      UserError: there is no such folder, it holds no images or a class without any, both images and sub-folders, or a
        link to a folder that is not there.
    """
    del data_dir
    if buckets.is_bucket(path):
        return _open_in_bucket(path.rstrip("/"), labels)
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise UserError(f"folder:{path}: there is no such folder")
    listing = _list(path)
    files = listing.files
    images = [file for file in files if is_image(os.path.join(path, file))]
    if not images:
        raise _without_images(path, "".join(f"; {note}" for note in note_of_others(path, files)))
    classes = _class_folders(path)
    if classes and (problem := _problem_with_classes(images, classes)):
        if labels:
            raise UserError(f"folder:{path}: {problem}")
        classes = []
    if labels and classes and (vanished := _vanished_classes(path, files)):
        raise UserError(
            f"folder:{path}: {printable(vanished[0])!r} is a link to nothing, and a class would be missing: mend or "
            "remove it"
        )
    number = {name: label for label, name in enumerate(classes)}
    return source_of_files(
        f"folder:{path}",
        paths=[os.path.join(path, image) for image in images],
        ids=[image.replace(os.sep, "/") for image in images],
        labels=[number[image.split(os.sep)[0]] if classes else -1 for image in images],
        class_names=classes,
        notes=listing.notes(path, images),
    )


def _without_images(path: str, others: str) -> UserError:
    return UserError(
        f"folder:{path}: no images in it ({', '.join(IMAGE_SUFFIXES)}){others}; put them into one sub-folder per "
        "class, or straight into it if they have no labels"
    )


def _open_in_bucket(path: str, labels: bool) -> Source:
    """As `open_folder`, of what the names of a bucket's objects begin with. Its listing says sizes and generations."""
    buckets.check_address(path)
    with buckets.explained(path, f"folder:{path}"):
        objects = buckets.find(path)
    if not objects:
        buckets.require_bucket(path)
        is_object = buckets.filesystem().exists(path)
        problem = "that is an object, and no folder" if is_object else "there is no object in such a folder"
        raise UserError(f"folder:{path}: {problem}")
    names = [known.path.removeprefix(f"{path}/") for known in objects]
    shown = [place for place, name in enumerate(names) if not any(map(_is_hidden, name.split("/")))]
    chosen = [place for place in shown if names[place].lower().endswith(IMAGE_SUFFIXES)]
    if not chosen:
        raise _without_images(path, f"; {len(names)} other objects are")
    chosen.sort(key=lambda place: names[place].split("/"))  # the order of a local folder
    images = [names[place] for place in chosen]
    classes = sorted({names[place].split("/")[0] for place in shown if "/" in names[place]})
    if classes and (problem := _problem_with_classes(images, classes)):
        if labels:
            raise UserError(f"folder:{path}: {problem}")
        classes = []
    number = {name: label for label, name in enumerate(classes)}
    left_out = len(names) - len(images)
    return source_of_files(
        f"folder:{path}",
        paths=[objects[place].path for place in chosen],
        ids=images,
        labels=[number[image.split("/")[0]] if classes else -1 for image in images],
        class_names=classes,
        stamp=hashlib.sha256(repr([objects[place][1:] for place in chosen]).encode()).hexdigest(),
        notes=(f"{left_out} objects are left out: they are hidden, or no images",) if left_out else (),
    )
