"""Images of a source by their ids, for people to look at."""

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ns_jax.data.sources.base import Source
from ns_jax.data.sources.orientation import oriented
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from ns_jax.pseudo_labels.ids import positions

SIDE = 96  # of a thumbnail at most, pixels


class Album:
    """The images of a source.

    Args:
      name: of the source.
      data_dir: where TFDS keeps its data sets.
      exif_orientation: whether images are turned as their EXIF data say, as the model saw them.

    Raises:
      UserError: the source cannot be opened.
    """

    def __init__(self, name: str, data_dir: str = "", exif_orientation: bool = False):
        source = open_source(name, data_dir, labels=False)
        self.source: Source = oriented(source) if exif_orientation else source

    def indices(self, ids: np.ndarray, likely: np.ndarray | None = None) -> np.ndarray:
        """int64 indices of images, see `find_images`."""
        return find_images(self.source, ids, likely)

    def load(self, index: int) -> np.ndarray:
        """An image, uint8 [H, W, 1, 3 or 4]. Raises UserError for arrays that are no images."""
        image = self.source.load(np.int64(index))[0].numpy()
        if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or image.dtype != np.uint8:
            raise UserError(f"{self.source.name} holds {image.dtype} arrays of shape {image.shape}, not images")
        return image


def find_images(source: Source, ids: np.ndarray, likely: np.ndarray | None = None) -> np.ndarray:
    """Indices of images in a source, int64 [N].

    Args:
      source: of the images.
      ids: byte strings [N].
      likely: int64 [N], where they were once; where they still are, no other ids are read.

    Raises:
      UserError: the source lacks an id; names the first.
    """
    if likely is not None and len(ids) and likely.max() < source.count and np.array_equal(source.ids(likely), ids):
        return likely
    of_source = source.ids(np.arange(source.count))
    known = np.isin(ids, of_source)
    if not known.all():
        raise UserError(f"{source.name} no longer holds {ids[known.argmin()].decode(errors='replace')!r}")
    return positions(of_source, ids)


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """An image of a sheet.

    Attributes:
      uri: data URI of a JPEG of at most 96 px.
      name: the image's id.
      lines: what is said of it.
    """

    uri: str
    name: str
    lines: tuple[str, ...]


def thumbnails(
    album: Album, ids: np.ndarray, lines: Sequence[tuple[str, ...]], likely: np.ndarray | None = None
) -> list[Thumbnail]:
    """Thumbnails of the images `ids`, byte strings [N], each with its lines; `likely` and errors see `find_images`."""
    return [
        Thumbnail(data_uri(album.load(int(index))), name.decode(errors="replace"), said)
        for index, name, said in zip(album.indices(ids, likely), ids.tolist(), lines, strict=True)
    ]


def data_uri(image: np.ndarray) -> str:
    """A uint8 image [H, W, C] as a JPEG that fits into 96 x 96 px; smaller images keep their size."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image[..., :3])
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
