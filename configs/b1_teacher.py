"""EfficientNet-B1 on labeled ImageNet: the baseline, and the teacher of b1_ns.

  python -m ns_jax.main --config=configs/b1_teacher.py --workdir=DIR

Meant for a TPU v3-32 (not measured). Paper: 79.2 / 94.4 (top-1 / top-5, with RandAugment; Table 9). Recipe:
configs/imagenet.py, 350 epochs; crop and flip alone, as in the official script;
the paper's text says RandAugment for all baselines.
"""

from ns_jax.configs import imagenet


def get_config():
    c = imagenet.supervised("b1")
    c.paper_row = "9/efficientnet-b1 supervised"
    return c
