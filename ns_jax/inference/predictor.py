"""A trained model over any number of examples, every one of them exactly once, on all devices of all hosts."""

import copy
import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np

from ns_jax.artifact.weights import Artifact
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.pipeline import eval_batches
from ns_jax.data.sources.base import Source
from ns_jax.data.views import View
from ns_jax.errors import Stopped, UserError
from ns_jax.inference.compile_options import compiler_options
from ns_jax.models.apply import probabilities
from ns_jax.models.base import Network
from ns_jax.parallel.mesh import batch_sharding, check_divides, place_whole, replicated, to_global, to_host
from ns_jax.parallel.preemption import must_stop
from ns_jax.progress_file import report_batch


@dataclasses.dataclass(frozen=True)
class PredictionNoise:
    """The student's noise for a model that predicts (the ablation's noised teacher).

    Attributes:
      augmentation: of the examples.
      seed: of the augmentation, dropout and stochastic depth, which are drawn by an example's index.
    """

    augmentation: Augmentation
    seed: int


def make_predict(network: Network, mesh, noise_seed: int | None = None):
    """Jitted (variables, batch [N, ...], ids int32 [N]) -> probabilities float32 [N, classes].

    `noise_seed` draws dropout and stochastic depth by id; without it there is no noise.
    """

    def predict(variables, batch, ids):
        noise = {} if noise_seed is None else {"example_ids": ids, "rngs": {"noise": jax.random.key(noise_seed)}}
        return probabilities(network, variables, batch, **noise)

    split = batch_sharding(mesh)
    shardings = (replicated(mesh), split, split)
    options = compiler_options(network)
    return jax.jit(predict, in_shardings=shardings, out_shardings=split, compiler_options=options)


class Predictor:
    """Probabilities of an artifact's model on a mesh. All hosts call it together.

    Args:
      artifact: of the model.
      network: built for it, see `ns_jax.artifact.metadata.network_of`.
      view: at which it looks at images; None for arrays.
      mesh: the devices.
      batch_size: over all devices.
      noise: of the ablation's noised teacher.

    Raises:
      UserError: the batch cannot be split over the devices.
    """

    def __init__(
        self,
        artifact: Artifact,
        network: Network,
        view: View | None,
        mesh,
        batch_size: int,
        noise: PredictionNoise | None = None,
    ):
        check_divides("eval_batch_size", batch_size, mesh)
        self.network, self.view, self.mesh, self.noise = network, view, mesh, noise
        self.name, self.class_names = str(artifact.folder), tuple(artifact.metadata["class_names"])
        self.variables = place_whole(mesh, network.to_module(artifact.variables))
        self.batch_size_of_host = batch_size // jax.process_count()
        self._predict = make_predict(network, mesh, None if noise is None else noise.seed)

    def num_batches(self, count: int) -> int:
        """Batches that this host needs for `count` examples, at least one."""
        return max(1, -(-count // self.batch_size_of_host))

    def __call__(self, source: Source, indices: np.ndarray, num_batches: int) -> Iterator[tuple]:
        """Runs this host's `indices`; hosts with less to do feed empty batches.

        Yields:
          (probs float32 [n, classes], labels int32 [n], indices int64 [n]) of each of the `num_batches` batches,
          padding removed.

        Raises:
          UserError: the model's probabilities are not finite.
          Stopped: a host had a SIGTERM.
        """
        predict = lambda variables, examples, labels, ids: self._predict(variables, examples, ids)
        for probs, labels, places in self.run(predict, source, indices, num_batches):
            if not np.isfinite(probs).all():
                raise UserError(f"the model {self.name} gives probabilities that are not numbers: train it again")
            yield probs, labels, places

    def run(self, program: Callable, source: Source, indices: np.ndarray, num_batches: int) -> Iterator[tuple]:
        """As `__call__`, of another function of the model.

        Args:
          program: jitted, (variables, batch [N, ...], labels int32 [N], ids int32 [N]) -> array [N, ...], split over
            the devices by batch; labels and ids of padding are 0 and -1.
          source: of the examples.
          indices: of this host's.
          num_batches: see `num_batches`.

        Raises:
          Stopped: a host had a SIGTERM.
        """
        noise = None if self.noise is None else (self.noise.augmentation, self.noise.seed)
        batches = eval_batches(source, indices, self.view, self.batch_size_of_host, noise)
        for _ in range(num_batches):
            if must_stop():
                raise Stopped("stopped by SIGTERM; start again to continue")
            batch = next(batches, None) or self._empty_batch()
            host_batch = (batch["image"], batch["label"].astype(np.int32), batch["index"].astype(np.int32))
            outputs = to_host(program(self.variables, *to_global(self.mesh, host_batch)))
            report_batch()
            real = batch["index"] >= 0
            yield outputs[real], batch["label"][real], batch["index"][real]

    def without_crop(self) -> "Predictor":
        """The same model on whole images: of those that have been cut to a square before."""
        if self.view is None:
            raise UserError(f"the model {self.name} takes arrays, and this evaluation is of images")
        other = copy.copy(self)
        other.view = dataclasses.replace(self.view, crop_padding=0)
        return other

    def _empty_batch(self) -> dict:
        rows = self.batch_size_of_host
        shape = self.network.inputs.example_shape(self.view.size if self.view else None)
        return {
            "image": np.zeros((rows, *shape), np.float32),
            "label": np.zeros(rows, np.int32),
            "index": np.full(rows, -1),
        }

    def every_example(self, source: Source, indices: np.ndarray, program: Callable | None = None) -> Iterator[tuple]:
        """This host's share of `indices`, a list that all hosts give alike; yields as `__call__` or `run` does."""
        hosts = jax.process_count()
        num_batches = self.num_batches(-(-len(indices) // hosts))
        own = indices[jax.process_index() :: hosts]
        return self(source, own, num_batches) if program is None else self.run(program, source, own, num_batches)
