"""EfficientNet-L2 on labeled ImageNet: what the paper's students of the same size are compared with.

  python -m ns_jax.main --config=configs/l2_supervised.py --workdir=DIR

Meant for a TPU v3-2048. Paper: 85.5 / 97.5 (top-1 / top-5; Table 2). 350 epochs at 475 px, then 1.5 epochs at 800 px,
as the students; that the baseline was fine-tuned too is assumed.
"""

from ns_jax.configs import imagenet


def get_config():
    c = imagenet.supervised("l2")
    imagenet.finetune_l2(c)
    c.paper_row = "2/efficientnet-l2 supervised"
    return c
