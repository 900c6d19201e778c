"""Augmentations are checked before a run starts."""

import subprocess
import sys

import pytest
import tensorflow as tf

from ns_jax.data.ops.check import check_augmentation
from ns_jax.data.ops.registry import AUGMENTATIONS, Augmentation, RandAugmentSettings
from ns_jax.data.views import View
from ns_jax.errors import UserError

VIEW = View(12, 4)


def invert(image, seed, augmentation):
    return 255 - image


def halve(image, seed, augmentation):
    return image[:6]


def to_float(image, seed, augmentation):
    return tf.cast(image, tf.float32)


def in_numpy(image, seed, augmentation):
    return image.numpy()


def with_a_python_branch(image, seed, augmentation):
    return image if seed[0] > 0 else 255 - image


def nothing(image, seed, augmentation):
    return None


def complain(image, seed, augmentation):
    raise UserError("my own words")


def scale(array, seed, augmentation):
    return array * 2.0


def grey(image, magnitude, draw):
    return image[..., :1]


WITH_GREY = ("Rotate", grey)
WITH_ROTATE_ALONE = ("Rotate",)


def own(name):
    return f"{__name__}:{name}"


def test_every_built_in_operation_passes():
    names = [name for name in AUGMENTATIONS if name != "center"]
    check_augmentation(Augmentation(tuple(names), cutout_size=4), VIEW)
    check_augmentation(Augmentation(("center", "flip", own("invert"), own("invert"))), VIEW)
    check_augmentation(Augmentation(), VIEW)
    check_augmentation(Augmentation(("randaugment",), RandAugmentSettings(set=own("WITH_ROTATE_ALONE"))), VIEW)


@pytest.mark.parametrize(
    "operations, message",
    [
        (("flop",), "unknown augmentation 'flop': did you mean 'flip'"),
        (("flip", "random_area"), "'random_area' must come first"),
        (("center", "random_area"), "'random_area' must come first"),
        (("flip", "flip"), "'flip' is named twice"),
        ((own("halve"),), r"halve': returns uint8 \[6, 12, 3\] where it was given uint8 \[12, 12, 3\]"),
        (("flip", own("to_float")), r"to_float': returns float32 \[12, 12, 3\]"),
        ((own("in_numpy"),), r"in_numpy': fails on uint8 \[12, 12, 3\]"),
        ((own("with_a_python_branch"),), r"with_a_python_branch': fails on uint8 \[12, 12, 3\]"),
        ((own("nothing"),), "nothing': returns NoneType"),
        ((own("complain"),), "^my own words$"),
        ((own("missing"),), "has no 'missing'"),
        (("no.such_module:f",), "cannot import no.such_module"),
    ],
)
def test_operations_that_cannot_be_used_are_named(operations, message):
    with pytest.raises(UserError, match=message) as error:
        check_augmentation(Augmentation(operations), VIEW)
    assert "\n" not in str(error.value)


def test_every_function_of_a_randaugment_set_is_tried():
    augmentation = Augmentation(("randaugment",), RandAugmentSettings(set=own("WITH_GREY")))
    with pytest.raises(UserError, match=r"grey': returns uint8 \[12, 12, 1\]"):
        check_augmentation(augmentation, VIEW)
    check_augmentation(Augmentation(("flip",), RandAugmentSettings(set=own("WITH_GREY"))), VIEW)  # not used


def test_arrays():
    check_augmentation(Augmentation(), (6,))
    check_augmentation(Augmentation((own("scale"),)), (6, 2), "float64")
    with pytest.raises(UserError, match=r"'random_area': the model takes float32 \[6\], not images"):
        check_augmentation(Augmentation(("random_area",)), (6,))
    with pytest.raises(UserError, match=r"'pad4': fails on float32 \[6\]"):
        check_augmentation(Augmentation(("pad4",)), (6,))
    with pytest.raises(UserError, match=r"'randaugment': fails on float32 \[6\]"):
        check_augmentation(Augmentation(("randaugment",), RandAugmentSettings(set=own("WITH_GREY"))), (6,))


def test_the_registries_import_no_tensorflow():
    modules = (
        "ns_jax.data.ops.registry, ns_jax.data.ops.randaugment.sets, ns_jax.data.sources.registry, ns_jax.data.views"
    )
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
