"""EfficientNet-B2 on labeled ImageNet: the baseline, and the teacher of b2_ns.

  python -m ns_jax.main --config=configs/b2_teacher.py --workdir=DIR

Meant for a TPU v3-64 (not measured). Paper: 80.0 / 94.9 (top-1 / top-5, with RandAugment; Table 9). Recipe:
configs/imagenet.py, 350 epochs; RandAugment magnitude of the student.
"""

from ns_jax.configs import imagenet


def get_config():
    return imagenet.baseline("b2")
