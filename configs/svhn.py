"""The official code's SVHN experiment: EfficientNet-B0 at 32 px, ratio 5, RandAugment and cutout.

  python -m ns_jax.main --config=configs/svhn.py --workdir=DIR

Follows the official code (local_scripts/svhn), which reports 97.9 -> 98.6 (the figures of the paper are
not verified). Hardware: one GPU or a TPU v3-8. Labeled: the first 69,257 of the
cropped training images, unlabeled: the `extra` split.
`--config=configs/svhn.py:teacher` trains the supervised teacher alone.
"""

from ns_jax.configs import common


def get_config(form: str = "chain"):
    c = common.get_config()
    c.variant = "efficientnet-b0-svhn"
    c.dtype = "float32"
    c.data.labeled = "tfds:svhn_cropped/train[:69257]"
    c.data.unlabeled = "tfds:svhn_cropped/extra"
    c.data.test = "tfds:svhn_cropped/test"

    c.augment = ("pad4", "randaugment", "cutout")
    c.cutout_size = 16
    c.noise.randaugment_magnitude = 5.0
    c.labeled_batch_size = 128
    c.unlabeled_ratio = 5
    c.train_epochs = 109_474 * 128 / 69_257  # the official number of steps
    c.final_base_learning_rate = 2e-4
    c.weight_decay = 1e-4
    c.loss_reduction = "official"
    c.images_per_class = 53_113
    c.eval_batch_size = 1024

    if form == "chain":
        c.chain.iteration_0 = {"data": {"unlabeled": ""}, "paper_row": "17/teacher"}
        c.chain.iteration_1 = {"paper_row": "17/student"}
    elif form == "teacher":
        c.data.unlabeled, c.unlabeled_ratio, c.paper_row = "", 0, "17/teacher"
    else:
        raise ValueError(f"configs/svhn.py has the forms 'chain' and 'teacher', not {form!r}")
    return c
