"""Images a second of every corruption and perturbation, on one core.

python -m benchmarks.corruption_speed --size=28
python -m benchmarks.corruption_speed --size=224
"""

import time

import numpy as np
from absl import app, flags

from ns_jax.data.corruptions.corrupt import corrupt, generator_of
from ns_jax.data.corruptions.sequences import PERTURBATIONS, num_frames, sequence
from ns_jax.data.corruptions.tables import CORRUPTIONS, SEVERITIES
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS


def per_second(make, images_of_one: int, seconds: float) -> float:
    """Images a second of processor time that `make` makes, over at least `seconds`."""
    make()  # what is computed once is not counted
    calls, begin = 0, time.process_time()
    while time.process_time() - begin < seconds or not calls:
        make()
        calls += 1
    return calls * images_of_one / (time.process_time() - begin)


def measure(size: int, seconds: float = 0.3) -> str:
    """A table with a line for each corruption (mean over the severities) and perturbation (frames)."""
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)
    random = generator_of(0, "benchmark")
    rows = []
    for name in CORRUPTIONS:
        every_severity = lambda name=name: [corrupt(image, name, severity, random) for severity in SEVERITIES]
        rows.append(["corruption", name, f"{per_second(every_severity, len(SEVERITIES), seconds):.0f}"])
    for name in PERTURBATIONS:
        frames = lambda name=name: sequence(image, name, size, random)
        rows.append(["perturbation", name, f"{per_second(frames, num_frames(name, size), seconds):.0f}"])
    return f"{size} px\n\n{markdown_table(['kind', 'name', 'images/s'], rows)}"


def define_flags() -> None:
    flags.DEFINE_integer("size", 28, "Side of the images, pixels.", lower_bound=16)
    flags.DEFINE_float("seconds", 0.3, "Of each measurement.", lower_bound=0)


def main(argv) -> None:
    del argv
    print(measure(FLAGS.size, FLAGS.seconds))


if __name__ == "__main__":
    define_flags()
    app.run(main)
