"""What the sources of changed copies share: their string, and the square at which images are taken."""

import re

from ns_jax.data.ops.crops import center_window
from ns_jax.data.resize import resize_to_uint8
from ns_jax.data.sources.base import Source
from ns_jax.data.views import View
from ns_jax.errors import UserError

SIZE = re.compile(r"([0-9]{1,4})(?:\+([0-9]{1,4}))?")
MIN_SIZE = 16  # pixels: of less, nothing is left


def parse(kind: str, rest: str) -> tuple[int, int, str]:
    """The size and margin in pixels and the other source's string, of 'SIZE[+MARGIN]:SOURCE'.

    Raises:
      UserError: it has another form, or its size is out of range.
    """
    size_text, _, name = rest.partition(":")
    sizes = SIZE.fullmatch(size_text)
    if not sizes or ":" not in name:
        raise UserError(
            f"{kind}:{rest}: write {kind}:SIZE:SOURCE or {kind}:SIZE+MARGIN:SOURCE, as {kind}:28:mnist5k:test or "
            f"{kind}:224+32:folder:photos"
        )
    size, margin = int(sizes[1]), int(sizes[2] or 0)
    if not MIN_SIZE <= size <= 4096:
        raise UserError(f"{kind}:{rest}: SIZE is {size}, and must be from {MIN_SIZE} to 4096 pixels")
    return size, margin, name


def open_original(kind: str, name: str, data_dir: str) -> Source:
    """The source called `name`. Raises UserError where it has no classes, or is one of changed copies itself."""
    from ns_jax.data.sources.registry import open_source  # which names this module

    original = open_source(name, data_dir)
    if not original.num_classes:
        raise UserError(f"{kind}: {original.name} has no classes, and labels are needed here")
    if getattr(original, "original", None) is not None:
        raise UserError(f"{kind}: {original.name} is made of changed copies already: name the images themselves")
    return original


def square(original: Source, index, view: View):
    """uint8 [size, size, 3] of an image, and its label. TensorFlow graph code."""
    image, label = original.load(index, center_window(view))
    return resize_to_uint8(image, view), label
