"""Pictures of a report are turned as the model saw them."""

import numpy as np
import pytest
from PIL import Image

from ns_jax.report.images import Album

TURNED_BY_90 = 6  # EXIF's orientation of a camera that was held upright


@pytest.mark.parametrize("exif_orientation, shape", [(False, (8, 16, 3)), (True, (16, 8, 3))])
def test_pictures_are_turned_as_images_are(tmp_path, exif_orientation, shape):
    exif = Image.Exif()
    exif[0x0112] = TURNED_BY_90
    Image.new("RGB", (16, 8), (200, 10, 10)).save(tmp_path / "a.jpg", exif=exif)
    album = Album(f"folder:{tmp_path}", exif_orientation=exif_orientation)
    assert album.load(int(album.indices(np.array([b"a.jpg"]))[0])).shape == shape
