"""EfficientNet-B1 on labeled ImageNet: the baseline, and the teacher of b1_ns.

  python -m ns_jax.main --config=configs/b1_teacher.py --workdir=DIR
  ... --config=configs/b1_teacher.py:plain without RandAugment

Meant for a TPU v3-32 (not measured). Paper: 79.2 / 94.4 (top-1 / top-5, with RandAugment; Table 9). Its magnitude
for B1 is not known: configs/imagenet.py. 'plain' has crop and flip alone, as the official training script; the README
of the official tpu code has 78.7 for it. 350 epochs.
"""

from ns_jax.configs import imagenet


def get_config(form: str = "randaugment"):
    return imagenet.baseline("b1", form)
