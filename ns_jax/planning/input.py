"""The data side of a plan: images that a stage takes from its hosts, what they can give, and the memory they need.

What a host gives is scaled from small machines, which is an assumption: decoding and noise by cores and by pixels,
reading as one process reads whatever the cores.
"""

import dataclasses
import math

from ml_collections import ConfigDict

from ns_jax.planning.estimate import Estimate
from ns_jax.planning.hardware import Topology
from ns_jax.planning.programs import Counts
from ns_jax.run.settings import unlabeled_batch_size

# Milliseconds of a core for a JPEG of 500 x 375 px (docs/results.md, `python -m benchmarks.input_speed`: 1.6 in all at
# 224 px). What grows with the pixels makes 5.1 at 475 px; 5.3 were measured there.
DECODE_MS, RESIZE_MS, RANDAUGMENT_MS, MEASURED_SIDE = 0.6, 0.4, 0.6, 224
# Images that one process reads a second, without decoding them: 200 shards in random order, on two busy cores of an
# Intel Xeon. Reading is Python's, which more cores do not speed up; `folder:` and `manifest:` are read by TensorFlow.
READ_PER_SECOND = {"arrayrecord": 7800, "tfds": 7800, "tfrecord": 18_400, "wds": 18_700, "parquet": 9200}
BUCKET_READS = 5000  # object reads a second that a bucket begins with: cloud.google.com/storage/docs/request-rate
# Bytes of host memory (measured: `folder:` of a million files at its peak; 300 million images in 30,000 shards).
BYTES_OF_FILE, BYTES_OF_IMAGE_IN_SHARD = 983, 52e6 / 300e6
BYTES_OF_DRAW = 2 * 8  # of a labeled image: its index, and the pipeline's own copy of it
BYTES_OF_COLUMNS = 20  # of an image: label and runner-up of 2 bytes, confidence and margin of 4, entropy of 8
BYTES_OF_COPIES = 1 + 8 / 128  # of an unlabeled image, see `CopiesIndex`
# Batches of a host in flight, as ns_jax/data/pipeline.py has them: fetched ahead, being made, and on their way.
TRAINING_BATCHES, EVALUATION_BATCHES, READ_TOGETHER = 4 + 2, 2 + 2, 32
LANES, READ_AT_ONCE = 256, 16 << 20  # as ns_jax/data/order.py and ns_jax/data/shards/formats.py have them
TRAINING = ("train", "finetune")


@dataclasses.dataclass(frozen=True)
class InputPlan:
    """What a program takes from one host, and what that gives.

    Attributes:
      stage: of the program.
      needed: images a second that the devices of a host take at the planned utilization.
      needed_at_most: the same at the roofline.
      gives: images a second, assumed.
      limit: what of the host gives no more.
      megabytes: a second, of encoded images that are needed.
      requests: a second, of all hosts: single reads of images and pseudo-labels that are needed.
      threads: of the host.
    """

    stage: str
    needed: float
    needed_at_most: float
    gives: float
    limit: str
    megabytes: float
    requests: float
    threads: int

    def shortage(self) -> str:
        """One line about an input that is too slow, or ''."""
        if self.gives >= self.needed:
            return ""
        return (
            f"{self.stage}: input gives {self.gives:,.0f} images/s a host where {self.needed:,.0f} are needed "
            f"({self.limit}): the stage takes {self.needed / self.gives:.1f} times as long"
        )


def source_kind(name: str) -> str:
    """'tfds' of 'tfds:imagenet2012/train'."""
    return name.partition(":")[0]


def plan_input(
    estimate: Estimate, config: ConfigDict, topology: Topology, utilization: float, image_bytes: int
) -> InputPlan | None:
    """The data side of a program; None of one of arrays.

    Args:
      estimate: of the program.
      config: of the iteration.
      topology: on which it runs.
      utilization: share of the peak FLOP/s that is reached.
      image_bytes: of an encoded image, on average.
    """
    if not estimate.resolution:
        return None
    of_host = estimate.images / topology.hosts
    generation, threads = topology.generation, topology.generation.host.vcpus
    needed = of_host / estimate.step_seconds(generation, utilization)
    parts = _parts(estimate.stage, config)
    milliseconds = sum(share * _milliseconds(estimate.resolution, noised) for _, share, noised in parts)
    by_cores = 1000 * threads / 2 / milliseconds
    reading = sum(share / READ_PER_SECOND.get(source_kind(name), math.inf) for name, share, _ in parts)
    by_reading = 1 / reading if reading else math.inf
    limit = f"{threads // 2} cores at {milliseconds:.1f} ms an image, an assumption"
    if by_reading < by_cores:
        limit = f"one process reads {' and '.join(sorted({source_kind(name) for name, _, _ in parts}))} no faster"
    stored = sum(share for name, share, _ in parts if name == config.data.unlabeled)
    with_labels = stored if estimate.stage == "train" and not config.online_teacher else 0.0
    return InputPlan(
        stage=estimate.stage,
        needed=needed,
        needed_at_most=of_host / max(estimate.roofline(generation).values()),
        gives=min(by_cores, by_reading),
        limit=limit,
        megabytes=needed * image_bytes / 1e6,
        requests=needed * topology.hosts * _requests(stored, with_labels, estimate.stage, config, image_bytes),
        threads=threads,
    )


def _requests(stored: float, with_labels: float, stage: str, config: ConfigDict, image_bytes: int) -> float:
    """Requests to a bucket for an image, on average; `stored` and `with_labels` are shares of the images."""
    if stage == "train" and config.data.order == "lanes":  # in sequence, and the probabilities of a shard together
        return 1 - stored + stored * image_bytes / READ_AT_ONCE
    return 1 + with_labels


def _parts(stage: str, config: ConfigDict) -> list[tuple[str, float, bool]]:
    """(source, share of the images, whether RandAugment noises them) of what a stage reads."""
    data = config.data
    if stage == "label":
        return [(data.unlabeled, 1.0, config.noise.teacher and "randaugment" in config.augment)]
    if stage == "finetune":
        return [(data.labeled, 1.0, "randaugment" in config.finetune.augment)]
    if stage != "train":
        return [(data.test or data.labeled, 1.0, False)]
    noised = "randaugment" in config.augment
    labeled = config.labeled_batch_size if config.train_on == "both" else 0
    unlabeled = unlabeled_batch_size(config) if data.unlabeled else 0
    parts = [(data.labeled, labeled / (labeled + unlabeled), noised)] if labeled else []
    if unlabeled:
        own = config.augment_unlabeled
        noised = noised if own is None else "randaugment" in own
        parts.append((data.unlabeled, unlabeled / (labeled + unlabeled), noised))
    return parts


def _milliseconds(resolution: int, noised: bool) -> float:
    """Of a core, for an image."""
    of_pixels = RESIZE_MS + (RANDAUGMENT_MS if noised else 0.0)
    return DECODE_MS + of_pixels * (resolution / MEASURED_SIDE) ** 2


def host_memory(
    estimates: list[Estimate], config: ConfigDict, topology: Topology, counts: Counts, image_bytes: int
) -> dict[str, int]:
    """{what: bytes} that a host holds at most, of its images, their draws and the models; Python's own not counted."""
    memory = {"index of the images": _index_bytes(config, counts)}
    of_unlabeled = counts.unlabeled * BYTES_OF_COPIES if config.data.unlabeled else 0
    memory["draws of training"] = round(counts.labeled * BYTES_OF_DRAW + of_unlabeled)
    if config.data.unlabeled and config.data.order == "lanes":
        lanes = math.gcd(unlabeled_batch_size(config), LANES) / topology.hosts
        memory["windows of lanes"] = round((lanes + 1) * config.data.window * image_bytes)
    memory["images in flight"] = max(
        (_in_flight(estimate, topology, image_bytes) for estimate in estimates if estimate.resolution), default=0
    )
    local = topology.devices // topology.hosts
    # At most: each device's part of a checkpoint is read on its own, also where they are the same.
    memory["a restored checkpoint"] = local * max(
        (estimate.moments.get("restart", 0) for estimate in estimates), default=0
    )
    return memory


def _index_bytes(config: ConfigDict, counts: Counts) -> int:
    total = 0.0
    for name, images in (
        (config.data.labeled, counts.labeled),
        (config.data.unlabeled, counts.unlabeled),
        (config.data.test, counts.test),
    ):
        if name:
            in_shards = source_kind(name) in READ_PER_SECOND
            total += images * (BYTES_OF_IMAGE_IN_SHARD if in_shards else BYTES_OF_FILE)
    return round(total)


def _in_flight(estimate: Estimate, topology: Topology, image_bytes: int) -> int:
    """Bytes of batches that are made or fetched ahead, and of what the threads read for them."""
    is_training = estimate.stage in TRAINING
    batches, size = (TRAINING_BATCHES, 1) if is_training else (EVALUATION_BATCHES, 4)  # uint8, float32
    of_host = estimate.images // topology.hosts * 3 * estimate.resolution**2 * size
    read = topology.generation.host.vcpus * READ_TOGETHER * image_bytes
    return batches * of_host + read


def label_store_bytes(config: ConfigDict, counts: Counts) -> int:
    """Of the stored pseudo-labels, of a source that keeps no ids: float16 probabilities, and the columns."""
    if not config.data.unlabeled or config.online_teacher:
        return 0
    images = counts.selected if config.selection_from else counts.unlabeled
    kept = 4 * config.label_top_k + 2 if 0 < config.label_top_k < counts.classes else 2 * counts.classes
    return images * (kept + BYTES_OF_COLUMNS)


def shortages(
    inputs: list[InputPlan], memory: dict[str, int], config: ConfigDict, topology: Topology, counts: Counts
) -> list[str]:
    """A line about everything of the data side that is short."""
    lines = [line for part in inputs if (line := part.shortage())]
    host, needed = topology.generation.host, sum(memory.values())
    if needed > host.memory:
        largest = max(memory, key=memory.get)
        hint = "; pack the images into shards (python -m ns_jax.pack)" if largest == "index of the images" else ""
        lines.append(
            f"host memory: {needed / 1e9:,.0f} GB are needed where {host.machine_type} has {host.memory / 1e9:,.0f} "
            f"({largest}: {memory[largest] / 1e9:,.0f}){hint}"
        )
    if "://" in config.data.unlabeled or "://" in config.data.labeled:
        for part in inputs:
            if part.requests > BUCKET_READS:
                lines.append(
                    f"{part.stage}: {part.requests:,.0f} reads/s are needed where a bucket begins with "
                    f"{BUCKET_READS:,}: warm it up, or copy the images to the hosts' disks"
                )
    return lines
