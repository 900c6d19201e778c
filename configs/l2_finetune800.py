"""Fine-tunes an EfficientNet-L2 that is there at 800 px on clean labeled images (FixRes).

  python -m ns_jax.main --config=configs/l2_finetune800.py --workdir=DIR --config.init_from=MODEL

MODEL is a folder of this project or any weights that `ns_jax.load` opens, as
tf_efficientnet_l2.ns_jft_in1k_475. Meant for a TPU v3-2048. Paper: part of the 88.4 of Table 7; the
released 475 px weights have 88.2. 1.5 epochs through the end of the schedule, as the official code does;
how many shallow layers are fixed is not known, here the first three stages.
"""

from ns_jax.configs import imagenet


def get_config():
    c = imagenet.supervised("l2")
    c.init_from = "l2_iter3/model"
    c.frozen_blocks = 28
    c.schedule_start_epoch = c.train_epochs - 1.5
    c.train_epochs = 1.5
    c.resolution = c.test_resolution = 800
    c.augment = ()
    return c
