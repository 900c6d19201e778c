"""Training and inference of this project's models beside the same models elsewhere, on CPU.

  python -m benchmarks.model_speed [--variant=efficientnet-b0] [--batch_size=16] [--threads=2]

Timed is a training step (forward, backward, RMSProp, EMA, batch norm's moments), or a batch of
inference, in float32. The peers need their packages; --torch_python and --keras_python name the
interpreters that have them (timm and torch; tensorflow), and a peer without one is left out.
"""

import os
import sys

from absl import app, flags

from benchmarks.contest import contest, table_rows
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS
flags.DEFINE_string("variant", "efficientnet-b0", "A row of ns_jax/models/variants.py.")
flags.DEFINE_integer("batch_size", 16, "Images per step.")
flags.DEFINE_list("modes", ["inference", "training"], "What is timed.")
flags.DEFINE_integer("rounds", 9, "Turns of each contestant.")
flags.DEFINE_integer("threads", os.cpu_count(), "Cores of each contestant.")
flags.DEFINE_list("contestants", ["ns_jax", "timm"], "Of: ns_jax, plain (native convolutions), timm, keras.")
flags.DEFINE_string("torch_python", sys.executable, "Interpreter that has torch and timm.")
flags.DEFINE_string("keras_python", sys.executable, "Interpreter that has tensorflow.")


def main(argv) -> None:
    del argv
    python = {"timm": FLAGS.torch_python, "keras": FLAGS.keras_python}
    for mode in FLAGS.modes:
        commands = {
            name: [
                python.get(name, sys.executable),
                "-m",
                f"benchmarks.contestants.{name}_model",
                mode,
                FLAGS.variant,
                str(FLAGS.batch_size),
                str(FLAGS.threads),
            ]
            for name in FLAGS.contestants
        }
        seconds = contest(commands, FLAGS.rounds, FLAGS.threads)
        first = FLAGS.contestants[0]
        print(f"\n{mode}: {FLAGS.variant}, batch {FLAGS.batch_size}, {FLAGS.threads} cores, {FLAGS.rounds} rounds\n")
        print(
            markdown_table(
                ["", "images/s", "quartiles", f"{first} is faster by"], table_rows(seconds, FLAGS.batch_size, first)
            )
        )


if __name__ == "__main__":
    app.run(main)
