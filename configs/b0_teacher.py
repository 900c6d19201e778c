"""EfficientNet-B0 on labeled ImageNet: the baseline, and the teacher of b0_ns.

  python -m ns_jax.main --config=configs/b0_teacher.py --workdir=DIR
  ... --config=configs/b0_teacher.py:plain without RandAugment

Meant for a TPU v3-32 (not measured). Paper: 77.3 / 93.4 (top-1 / top-5, with RandAugment; Table 9). Its magnitude
for B0 is not known: configs/imagenet.py. 'plain' has crop and flip alone, as the official training script; the README
of the official tpu code has 76.7 for it. 350 epochs.
"""

from ns_jax.configs import imagenet


def get_config(form: str = "randaugment"):
    return imagenet.baseline("b0", form)
