"""A trained model over any number of examples, every one of them exactly once, on all devices of all hosts."""

import collections
import copy
import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator

import jax
import numpy as np

from ns_jax.artifact.weights import Artifact
from ns_jax.data.ops.registry import Augmentation
from ns_jax.data.pipeline import EvalBatches
from ns_jax.data.sources.base import Source
from ns_jax.data.views import View
from ns_jax.errors import Stopped, UserError
from ns_jax.inference.ahead import InThread
from ns_jax.inference.compile_options import compiler_options
from ns_jax.models.apply import probabilities
from ns_jax.models.base import Network
from ns_jax.parallel.mesh import batch_sharding, check_divides, num_hosts, place_whole, replicated, to_global, to_host
from ns_jax.parallel.preemption import must_stop
from ns_jax.progress_file import report_batch

IN_FLIGHT = 2  # batches that are on the devices, or on their way
READ_AHEAD = 2  # batches that wait in this process


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
    """Probabilities of an artifact's model on a mesh. The hosts whose devices it has call it together.

    While the devices compute a batch, the next one is on its way to them, others are read, and the results of the one
    before come back.

    Args:
      artifact: of the model.
      network: built for it, see `ns_jax.artifact.metadata.network_of`.
      view: at which it looks at images; None for arrays.
      mesh: the devices: of all hosts, or of this one.
      batch_size: over all devices of the mesh.
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
        self.batch_size_of_host = batch_size // num_hosts(mesh)
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
        for probs, labels, places in self.run(self._probabilities, source, indices, num_batches):
            self._check_finite(probs)
            yield probs, labels, places

    def lists(self, source: Source, lists: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Probabilities of one list of examples after the other, of a predictor on this host's devices alone.

        A list is asked for, and its reading begins, before the results of the one before are complete. Each begins with
        a batch of its own, so that what is predicted does not depend on the lists beside it.

        Args:
          source: of the examples.
          lists: int64 [M] each; iterated in a thread.

        Yields:
          float32 [M, classes] of each list.

        Raises:
          UserError: the model's probabilities are not finite.
          Stopped: a host had a SIGTERM.
        """

        def batches() -> Iterator[tuple[np.ndarray, bool, dict]]:
            read = self._reader(source)
            for indices in lists:
                count = self.num_batches(len(indices))
                for number, batch in enumerate(self._batches(read(indices), count)):
                    yield indices, number == count - 1, batch

        parts: list[tuple] = []
        for outputs, (indices, is_last, batch) in self._outputs(self._probabilities, batches(), together=False):
            real = batch["index"] >= 0
            self._check_finite(outputs[real])
            parts.append((outputs[real], batch["index"][real]))
            if is_last:
                seen = np.concatenate([places for _, places in parts])
                if not np.array_equal(seen, indices):
                    raise RuntimeError(f"{len(seen)} of {len(indices)} examples of {source.name} came back")
                yield np.concatenate([probs for probs, _ in parts])
                parts = []

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
        batches = ((batch,) for batch in self._batches(self._reader(source)(indices), num_batches))
        for outputs, (batch,) in self._outputs(program, batches, together=True):
            real = batch["index"] >= 0
            yield outputs[real], batch["label"][real], batch["index"][real]

    def _probabilities(self, variables, examples, labels, ids) -> jax.Array:
        return self._predict(variables, examples, ids)

    def _check_finite(self, probs: np.ndarray) -> None:
        if not np.isfinite(probs).all():
            raise UserError(f"the model {self.name} gives probabilities that are not numbers: train it again")

    def _reader(self, source: Source) -> EvalBatches:
        noise = None if self.noise is None else (self.noise.augmentation, self.noise.seed)
        return EvalBatches(source, self.view, self.batch_size_of_host, noise)

    def _batches(self, batches: Iterator[dict], count: int) -> Iterator[dict]:
        """`count` batches of this host's rows: the given ones, then empty ones."""
        for _ in range(count):
            yield next(batches, {}) or self._empty_batch()

    def _outputs(self, program: Callable, batches: Iterable[tuple], together: bool) -> Iterator[tuple]:
        """Yields (rows of this host, what came with the batch) of every batch, in order.

        Args:
          program: see `run`.
          batches: tuples whose last item is the batch; iterated in a thread.
          together: whether all hosts run as many batches.
        """
        computing: collections.deque = collections.deque()
        with InThread(batches, READ_AHEAD) as ahead:
            while True:
                if len(computing) == IN_FLIGHT or computing and not ahead.is_ready():
                    yield self._fetch(*computing.popleft())
                    continue
                if must_stop(together):
                    raise Stopped("stopped by SIGTERM; start again to continue")
                item = next(ahead, None)
                if item is None:
                    break
                batch = item[-1]
                host_batch = (batch["image"], batch["label"].astype(np.int32), batch["index"].astype(np.int32))
                outputs = program(self.variables, *to_global(self.mesh, host_batch))
                outputs.copy_to_host_async()
                computing.append((outputs, item))
        while computing:
            yield self._fetch(*computing.popleft())

    def _fetch(self, outputs: jax.Array, item: tuple) -> tuple:
        rows = to_host(outputs)
        report_batch()
        return rows, item

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
