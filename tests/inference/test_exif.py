"""A model that was trained on turned images turns them itself."""

import numpy as np
import PIL.Image
from etils import epath

import ns_jax
from ns_jax.artifact.metadata import model_metadata, read_metadata
from ns_jax.artifact.weights import save_artifact
from ns_jax.data.pillow import EXIF_ORIENTATION
from ns_jax.models.registry import get_architecture
from tests.interop.weights import random_artifact


def test_the_model_knows_how_its_images_lay(tmp_path):
    exif = PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = 3
    image = np.zeros((28, 28, 3), np.uint8)
    image[:14] = 200
    PIL.Image.fromarray(image).save(tmp_path / "image.png", exif=exif)
    views = []
    for known in ({"exif_orientation": True}, {}):
        folder = epath.Path(tmp_path / f"model{len(known)}")
        metadata = model_metadata(get_architecture("efficientnet-small"), 10, **known)
        save_artifact(folder, random_artifact("efficientnet-small", 10).variables, metadata)
        assert read_metadata(folder).get("exif_orientation", False) == bool(known)
        views.append(ns_jax.load(folder).preprocess(tmp_path / "image.png"))
    np.testing.assert_array_equal(views[0], views[1][::-1, ::-1])
    assert views[0][0, 0, 0] < views[1][0, 0, 0]
