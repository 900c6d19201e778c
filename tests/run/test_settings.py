"""From a config's fields to values; a teacher keeps its own form and dtype under its student's config."""

import jax.numpy as jnp
import pytest
from etils import epath

from ns_jax.configs import common, mnist5k
from ns_jax.errors import UserError
from ns_jax.models.base import ArrayInputs, ImageInputs
from ns_jax.parallel.mesh import make_mesh
from ns_jax.run import settings
from ns_jax.run.orchestrate import make_plan
from ns_jax.run.stages import STAGES, get_stage


def looping_student():
    config = common.get_config()
    config.variant, config.parallel.scan_blocks, config.parallel.remat = "efficientnet-l2", True, True
    config.frozen_blocks, config.init_from = 3, "teacher"
    return config


def test_a_teacher_of_another_family_and_dtype():
    """A ResNet has no loops, and a float32 teacher of a bfloat16 student labels in float32."""
    config = looping_student()
    options = settings.prediction_options(config, "resnet-50", "float32")
    assert not options.scan_blocks and not options.remat and options.frozen_blocks == 0
    assert options.dtype == jnp.float32
    same_family = settings.prediction_options(config, "efficientnet-b7")
    assert same_family.scan_blocks and same_family.dtype == jnp.bfloat16


def test_official_groups_of_batch_norm():
    """Per core up to 8 cores, then of 8 cores or an eighth of them (noisystudent utils.py)."""
    sizes = {1: 1, 2: 1, 8: 1, 16: 8, 32: 8, 64: 8, 128: 16, 2048: 256}
    assert {devices: settings.official_group_size(devices) for devices in sizes} == sizes
    config, mesh = common.get_config(), make_mesh()
    assert mesh.size == 8
    groups = {}
    for size in (settings.OFFICIAL_GROUPS, 0, 4):
        config.bn_group_size = size
        groups[size] = settings.bn_groups(config, mesh)
    assert groups == {-1: 8, 0: 1, 4: 2}
    config.bn_group_size = 3
    with pytest.raises(UserError, match="bn_group_size=3 does not divide the 8 devices"):
        settings.bn_groups(config, mesh)


def test_views_of_images_and_arrays():
    images = ImageInputs(resolution=32, test_resolution=48, crop_padding=4)
    assert settings.train_view(images, None).size == 32 and settings.train_view(images, 40).size == 40
    assert settings.test_view(images).size == 48 and settings.test_view(images, 64).size == 64
    arrays = ArrayInputs((5,))
    assert settings.train_view(arrays, None) is None and settings.test_view(arrays) is None
    with pytest.raises(UserError, match="resolution=40: the model takes arrays"):
        settings.train_view(arrays, 40)


def test_unlabeled_images_are_augmented_as_labeled_ones_unless_said():
    config = mnist5k.get_config()
    assert settings.unlabeled_augmentation(config) == settings.augmentation(config)
    config.augment_unlabeled = ()
    assert settings.unlabeled_augmentation(config).operations == ()
    assert settings.augmentation(config).operations == ("pad4", "randaugment")


def test_each_iteration_teaches_the_next(tmp_path):
    config = mnist5k.get_config("smoke")
    with config.unlocked():
        config.chain = {"teacher": {"data": {"unlabeled": ""}}, "student": {"finetune": {"epochs": 1.0}}, "last": {}}
        config.chain_order = ("teacher", "student", "last")
    first, second, third = make_plan(config, epath.Path(tmp_path))
    assert first.teacher is None and second.teacher == tmp_path / "teacher" / "model"
    assert third.teacher == tmp_path / "student" / "finetune" / "model"


@pytest.mark.parametrize("name", list(STAGES))
def test_stages_of_the_table(name):
    """Labels and a selection need a stored teacher's labels, fine-tuning its epochs; the others always apply."""
    config, stage = common.get_config(), get_stage(name)
    config.finetune.epochs = 0.0
    of_labels, always = name in ("label", "select"), name in ("train", "evaluate")
    assert stage.applies(config, True) == (of_labels or always)
    assert stage.applies(config, False) == always
    config.finetune.epochs, config.online_teacher = 1.0, True
    assert stage.applies(config, True) == (not of_labels)
