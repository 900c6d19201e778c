"""EfficientNet-B7 on labeled ImageNet: the baseline, and the teacher of b7_ns.

  python -m ns_jax.main --config=configs/b7_teacher.py --workdir=DIR

Meant for a TPU v3-512 (not measured). Paper: 85.0 / 97.2 (top-1 / top-5, with RandAugment; Table 9). Recipe:
configs/imagenet.py, 350 epochs; RandAugment magnitude of the student (the official README of the tpu code: 28).
"""

from ns_jax.configs import imagenet


def get_config():
    return imagenet.baseline("b7")
