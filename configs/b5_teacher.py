"""EfficientNet-B5 on labeled ImageNet: the baseline, and the teacher of b5_ns.

  python -m ns_jax.main --config=configs/b5_teacher.py --workdir=DIR

Meant for a TPU v3-256 (not measured). Paper: 84.0 / 96.8 (top-1 / top-5, with RandAugment; Table 9). Recipe:
configs/imagenet.py, 350 epochs; RandAugment magnitude of the student (the official README of the tpu code: 17).
"""

from ns_jax.configs import imagenet


def get_config():
    return imagenet.baseline("b5")
