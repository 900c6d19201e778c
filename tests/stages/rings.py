"""The whole loop on vectors of two numbers with a model of two layers: compiled and computed at once."""

from ns_jax.configs import mnist5k


def get_config():
    c = mnist5k.get_config("smoke")
    c.variant = "tests.extending.own_vector_model:TwoLayersArchitecture"
    c.augment = ()
    for split in ("labeled", "unlabeled", "test"):
        c.data[split] = f"tests.extending.own_source:open_rings:{split}"
    c.train_epochs = 9.0  # 12 steps
    c.label_shard_size, c.eval_batch_size = 64, 32
    c.log_every_steps = 4
    return c
