"""EfficientNet-B3 on labeled ImageNet: the baseline, and the teacher of b3_ns.

  python -m ns_jax.main --config=configs/b3_teacher.py --workdir=DIR

Meant for a TPU v3-64 (not measured). Paper: 81.7 / 95.7 (top-1 / top-5, with RandAugment; Table 9). Recipe:
configs/imagenet.py, 350 epochs; RandAugment magnitude of the student.
"""

from ns_jax.configs import imagenet


def get_config():
    return imagenet.baseline("b3")
