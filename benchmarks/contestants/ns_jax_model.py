"""This project's own training step and prediction, as the stages run them."""

import sys

import jax
import numpy as np

from benchmarks.contest import serve
from ns_jax.configs.common import get_config
from ns_jax.host_memory import restart_with_kept_memory
from ns_jax.models.variants import get_variant
from ns_jax.parallel.mesh import make_mesh, to_global
from ns_jax.run.iteration import build_model
from ns_jax.training.optimizer import make_optimizer
from ns_jax.training.schedule import learning_rate_schedule
from ns_jax.training.state import create_state
from ns_jax.training.step import make_predict, make_train_step


def make_work(mode: str, name: str, batch_size: int):
    """A function that does one turn."""
    config = get_config()
    with config.unlocked():
        config.dtype, config.labeled_batch_size = "float32", batch_size
    variant, mesh = get_variant(name), make_mesh()
    size, classes = variant.resolution, 1000 if variant.resolution > 32 else 10
    model = build_model(variant, classes, config)
    schedule = learning_rate_schedule(config, 100 * batch_size)
    optimizer = make_optimizer(config, schedule)
    state = create_state(model, optimizer, 0, size, mesh)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, size, size, 3), np.uint8)
    if mode == "inference":
        predict = make_predict(model, mesh)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        return lambda: np.asarray(predict(variables, to_global(mesh, images.astype(np.float32))))
    step = make_train_step(config, model, optimizer, schedule, state)
    batch = {"image": images, "label": rng.integers(0, classes, batch_size, np.int32)}
    held = [state]

    def train() -> None:
        held[0], metrics = step(held[0], to_global(mesh, batch))
        jax.block_until_ready((held[0], metrics))

    return train


if __name__ == "__main__":
    restart_with_kept_memory()  # as ns_jax.main does
    serve(make_work(sys.argv[1], sys.argv[2], int(sys.argv[3])))
