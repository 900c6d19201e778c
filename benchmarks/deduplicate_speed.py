"""How long `python -m ns_jax.deduplicate` takes, and its memory: reading images, and comparing their fingerprints.

  python -m benchmarks.deduplicate_speed [--unlabeled=1000000] [--against=50000] [--distance=4]

Images are JPEGs of 500 x 375 px. The fingerprints that are compared are random but for 100 near-duplicates, which must
be what is found.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.input_speed import IMAGES, write_jpegs
from ns_jax.cores import usable_cores
from ns_jax.data.duplicates.fingerprints import FINGERPRINT, fingerprints
from ns_jax.data.duplicates.matching import find_duplicates
from ns_jax.data.sources.registry import open_source
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
PLANTED = 100
MIB = 1024  # of what the system counts memory in, KiB


def random_fingerprints(count: int, rng: np.random.Generator) -> np.ndarray:
    """FINGERPRINT [count] of images that have nothing in common."""
    records = np.zeros(count, FINGERPRINT)
    records["index"] = np.arange(count)
    for field in ("stored", "pixels"):
        records[field] = np.frombuffer(rng.bytes(16 * count), "S16")
    records["perceptual"] = rng.integers(0, 1 << 64, count, np.uint64)
    return records


def plant(unlabeled: np.ndarray, against: np.ndarray, distance: int, rng: np.random.Generator) -> np.ndarray:
    """Makes some of `unlabeled` near-duplicates of `against`, `distance` bits away; returns their positions."""
    planted = np.sort(rng.choice(len(unlabeled), min(PLANTED, len(unlabeled)), replace=False))
    flipped = [sum(1 << int(bit) for bit in rng.choice(64, distance, replace=False)) for _ in planted]
    partners = rng.integers(0, len(against), len(planted))
    unlabeled["perceptual"][planted] = against["perceptual"][partners] ^ np.array(flipped, np.uint64)
    return planted


def peak_memory() -> int:
    """Of this process until now, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // MIB


def measure(unlabeled: int, against: int, distance: int, images: int = IMAGES) -> str:
    """Reads a folder of JPEGs, and compares random fingerprints.

    Args:
      unlabeled: number of fingerprints.
      against: number of those that they are compared with.
      distance: within which two are near-duplicates.
      images: number of JPEGs.

    Returns:
      A table of times, speeds and the memory of the process at the end of each part.

    Raises:
      RuntimeError: the comparison does not find what was planted.
    """
    threads, rng = usable_cores(), np.random.default_rng(0)
    before = peak_memory()
    here, there = random_fingerprints(unlabeled, rng), random_fingerprints(against, rng)
    planted = plant(here, there, distance, rng)
    started = time.perf_counter()
    duplicates = find_duplicates(here, [there], distance, threads)
    compared = time.perf_counter() - started
    if not np.isin(planted, duplicates["index"]).all():
        raise RuntimeError("the comparison does not find what was planted")
    memory_of_comparison = peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), images)
        source = open_source(f"folder:{folder}")
        fingerprints(source, distance)  # the first time, libraries are loaded
        started = time.perf_counter()
        fingerprints(source, distance)
        read = time.perf_counter() - started
    rows = [
        ["imports", "", "", f"{before} MiB"],
        [
            f"compare {unlabeled:,} with {against:,} within {distance}",
            f"{compared:.1f} s",
            f"{unlabeled * against / compared / 1e6:.0f} M pairs/s",
            f"{memory_of_comparison} MiB",
        ],
        [f"read {images} images", f"{read:.2f} s", f"{images / read:.0f} images/s", f"{peak_memory()} MiB"],
    ]
    return markdown_table(["", "time", "speed", "peak memory"], rows)


def define_flags() -> None:
    flags.DEFINE_integer("unlabeled", 1_000_000, "Fingerprints of unlabeled images.", lower_bound=1)
    flags.DEFINE_integer("against", 50_000, "Fingerprints of test images.", lower_bound=1)
    flags.DEFINE_integer("distance", 4, "Bits by which near-duplicates differ at most.", lower_bound=0)


def main(argv) -> None:
    del argv
    print(f"{usable_cores()} cores\n\n{measure(FLAGS.unlabeled, FLAGS.against, FLAGS.distance)}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
