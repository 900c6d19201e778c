"""What TensorFlow does not decode, through Pillow: WebP, TIFF, AVIF, BMPs with a palette; EXIF orientation. NumPy."""

import io

import numpy as np
import PIL.Image
import PIL.ImageOps

from ns_jax.data.image_size import LIMIT, max_pixels, too_large

FORMATS = ("WEBP", "TIFF", "AVIF", "BMP")
EXIF_ORIENTATION = 0x0112  # tag of EXIF 2.3
UPRIGHT = 1

PIL.Image.init()  # here: Pillow registers its formats once, which threads must not do at the same time


def decode(content: np.ndarray, exif_orientation: bool = False) -> np.ndarray:
    """Decodes the first image of a WebP, TIFF, AVIF or BMP: uint8 [H, W, 3].

    Args:
      content: the file's bytes, uint8 [N].
      exif_orientation: whether to turn it as its EXIF data say.

    Raises:
      ValueError: not a whole image of these formats, more pixels than `max_pixels` allows, or see `to_rgb`.
    """
    try:
        with PIL.Image.open(io.BytesIO(content.tobytes()), formats=FORMATS) as image:
            if image.width * image.height > max_pixels():
                raise ValueError(too_large(f"the image has {image.width * image.height}"))
            image.load()
            return to_rgb(PIL.ImageOps.exif_transpose(image) if exif_orientation else image)
    except PIL.Image.DecompressionBombError as error:  # Pillow's own limit stays for what it decodes
        raise ValueError(f"{' '.join(str(error).split())} ({LIMIT})") from None
    except Exception as error:  # what Pillow raises of damaged files is not one kind
        raise ValueError(f"{type(error).__name__}: {error}") from None


def to_rgb(image: PIL.Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of an image of any mode, as TensorFlow makes them of a PNG.

    Grey is repeated, alpha is left out, and of 16 bits the upper 8 are taken.

    Raises:
      ValueError: its numbers have no known range (32-bit integers, floats), or Pillow cannot convert its colours.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"numbers of mode {image.mode} have no known range: save the image with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    return np.asarray(image.convert("RGB"))


def orientation(content: np.ndarray) -> np.int64:
    """The orientation, 1 to 8, in the EXIF data of a JPEG or PNG, bytes uint8 [N]; 1, upright, where there is none."""
    try:
        with PIL.Image.open(io.BytesIO(content.tobytes()), formats=("JPEG", "PNG")) as image:
            value = image.getexif().get(EXIF_ORIENTATION, UPRIGHT)
    except Exception:  # of damaged files, which the decoder reports
        return np.int64(UPRIGHT)
    return np.int64(value if value in range(1, 9) else UPRIGHT)
