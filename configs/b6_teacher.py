"""EfficientNet-B6 on labeled ImageNet: the baseline, and the teacher of b6_ns.

  python -m ns_jax.main --config=configs/b6_teacher.py --workdir=DIR

Meant for a TPU v3-512 (not measured). Paper: 84.5 / 97.0 (top-1 / top-5, with RandAugment; Table 9). Recipe:
configs/imagenet.py, 350 epochs; RandAugment magnitude of the student.
"""

from ns_jax.configs import imagenet


def get_config():
    return imagenet.baseline("b6")
