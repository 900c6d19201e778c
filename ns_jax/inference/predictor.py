"""A trained model over any number of images, every one of them exactly once."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from ns_jax.artifact.weights import Artifact
from ns_jax.data.pipeline import eval_batches
from ns_jax.errors import Stopped, UserError
from ns_jax.interop.foreign import check_artifact
from ns_jax.models.efficientnet.stacking import stacked_for
from ns_jax.models.variants import get_variant
from ns_jax.parallel.mesh import check_divides, replicated, to_global, to_host
from ns_jax.parallel.preemption import must_stop
from ns_jax.run.iteration import Iteration, build_model
from ns_jax.training.step import make_predict


class Predictor:
    """Probabilities of an artifact's model on the mesh. All hosts call it together.

    `noised`: with the noise of the student, on images and in the model (the ablation's teacher).
    """

    def __init__(self, iteration: Iteration, artifact: Artifact, noised: bool = False):
        config, mesh = iteration.config, iteration.mesh
        check_divides("eval_batch_size", config.eval_batch_size, mesh)
        card = artifact.card
        # The card, not today's table, says how this model's images were normalised.
        variant = dataclasses.replace(get_variant(card["variant"]), mean=tuple(card["mean"]), std=tuple(card["std"]))
        self.model = build_model(variant, len(artifact.card["class_names"]), config)
        view = iteration.test_view(artifact.card)
        check_artifact(artifact)
        self.mesh, self.view, self.name = mesh, view, artifact.folder
        self.rows = config.eval_batch_size // jax.process_count()  # of this host
        self.variables = jax.device_put(stacked_for(self.model, artifact.variables), replicated(mesh))
        self.predict = make_predict(self.model, mesh, config.seed if noised else None)
        self.noised_by = config if noised else None

    def num_batches(self, count: int) -> int:
        """Batches that this host needs for `count` images, at least one."""
        return max(1, -(-count // self.rows))

    def __call__(self, source, indices: np.ndarray, num_batches: int) -> Iterator[tuple]:
        """Runs this host's `indices`; hosts with less to do feed empty batches.

        Yields:
          (probs float32 [n, classes], labels int32 [n], indices int64 [n]) of each of the
          `num_batches` batches, padding removed.
        """
        size = self.view.size
        batches = eval_batches(source, indices, self.view, self.rows, self.noised_by)
        empty = {
            "image": np.zeros((self.rows, size, size, 3), np.float32),
            "label": np.zeros(self.rows, np.int32),
            "index": np.full(self.rows, -1),
        }
        for _ in range(num_batches):
            if must_stop():
                raise Stopped("stopped by SIGTERM; start again to continue")
            batch = next(batches, empty)
            images, ids = to_global(self.mesh, (batch["image"], batch["index"].astype(np.int32)))
            probs = to_host(self.predict(self.variables, images, ids))
            real = batch["index"] >= 0
            if not np.isfinite(probs[real]).all():
                raise UserError(f"the model {self.name} gives probabilities that are not numbers: train it again")
            yield probs[real], batch["label"][real], batch["index"][real]
