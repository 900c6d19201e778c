"""EfficientNet-B0 on labeled ImageNet: the baseline, and the teacher of b0_ns.

  python -m ns_jax.main --config=configs/b0_teacher.py --workdir=DIR

Meant for a TPU v3-32 (not measured). Paper: 77.3 / 93.4 (top-1 / top-5, with RandAugment; Table 9). Recipe:
configs/imagenet.py, 350 epochs; crop and flip alone, as in the official script;
the paper's text says RandAugment for all baselines.
"""

from ns_jax.configs import imagenet


def get_config():
    c = imagenet.supervised("b0")
    c.paper_row = "9/efficientnet-b0 supervised"
    return c
