"""Noisy Student on ImageNet alone: 10 % of it labeled, all of it without labels. Anybody with ImageNet can run it.

  python -m ns_jax.main --config=configs/imagenet_10pct.py --workdir=DIR

A teacher and two students, EfficientNet-B0 ('b1' to 'b7' after a colon for larger ones). Meant for a TPU v3-8
or eight GPUs. The paper has no such experiment. The unlabeled images contain the labeled tenth.
"""

from ns_jax.configs import common, imagenet


def get_config(model: str = "b0"):
    c = imagenet.supervised(model)
    c.data.labeled = "tfds:imagenet2012_subset/10pct/train"
    c.data.unlabeled = "tfds:imagenet2012/train"
    c.labeled_batch_size = 256
    c.unlabeled_ratio = 7
    c.augment = imagenet.RANDAUGMENT
    c.noise.randaugment_magnitude = 9.0
    c.min_confidence = 0.3
    c.images_per_class = 1300
    common.chain(c, students=2)
    return c
