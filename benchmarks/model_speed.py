"""Training and inference of this project's models beside the same models elsewhere, on CPU.

  python -m benchmarks.model_speed [--variant=efficientnet-b0] [--batch_size=16] [--threads=2]

Timed is a training step (forward, backward, RMSProp, EMA, batch norm's moments), or a batch of
inference, in float32 unless a contestant's form says bfloat16. The peers need their packages; --torch_python and
--keras_python name the interpreters that have them (timm and torch; tensorflow). --contestants chooses peers and forms:

  --modes=inference --contestants=ns_jax,ns_jax:folded,onnxruntime,openvino,openvino:bfloat16,timm:compiled_bfloat16
"""

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence

from absl import app, flags

from benchmarks.contest import TURN_SECONDS, contest, table_rows
from benchmarks.contestants.task import Task
from ns_jax.models.efficientnet.variants import BlockGroup
from ns_jax.models.registry import get_architecture
from ns_jax.report.results import markdown_table

FLAGS = flags.FLAGS


def timm_notation(group: BlockGroup) -> str:
    """Blocks of an EfficientNet in the notation of timm's builder."""
    kind = "ds" if group.expand == 1 else "ir"
    return f"{kind}_r{group.repeats}_k{group.kernel}_s{group.stride}_e{group.expand}_c{group.filters}_se0.25"


def make_task(mode: str, variant: str, batch_size: int, threads: int) -> Task:
    """Returns the task that contestants get: 1000 classes, of a variant for small images 10."""
    architecture = get_architecture(variant)
    resolution = architecture.inputs.resolution
    shape = {}
    if hasattr(architecture, "groups"):
        shape = {
            "blocks": tuple(timm_notation(group) for group in architecture.groups),
            "stem_filters": architecture.stem_filters,
            "head_filters": architecture.head_filters,
        }
    return Task(mode, variant, resolution, 1000 if resolution > 32 else 10, batch_size, threads, **shape)


def measure(
    contestants: Sequence[str],
    mode: str,
    variant: str,
    batch_size: int,
    rounds: int,
    threads: int,
    pythons: Mapping[str, str] | None = None,
    turn_seconds: float = TURN_SECONDS,
) -> str:
    """Lets the contestants train or predict.

    Args:
      contestants: names of benchmarks/contestants/NAME_model.py, or NAME:FORM, see `Task`.
      mode: 'inference' or 'training'.
      variant: the model.
      batch_size: images per step.
      rounds: turns of each.
      threads: cores of each.
      pythons: {contestant: interpreter}, where it is another one.
      turn_seconds: length of a turn.

    Returns:
      A table of images per second.
    """
    task = make_task(mode, variant, batch_size, threads)
    commands = {}
    for name in contestants:
        program, _, form = name.partition(":")
        python = (pythons or {}).get(program, sys.executable)
        text = dataclasses.replace(task, form=form).to_text()
        commands[name] = [python, "-m", f"benchmarks.contestants.{program}_model", text]
    seconds = contest(commands, rounds, threads, turn_seconds)
    first = contestants[0]
    rows = table_rows(seconds, batch_size, first)
    return markdown_table(["", "images/s", "quartiles", f"{first} is faster by"], rows)


PACKAGES = ("jax", "onnxruntime", "openvino", "torch", "timm", "tensorflow")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def machine() -> str:
    """The CPU, which of INSTRUCTIONS it has, and versions of PACKAGES that are installed here, on a line."""
    try:
        with open("/proc/cpuinfo") as file:
            text = file.read()
    except OSError:  # not Linux
        text = ""
    lines = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    instructions = [name for name in INSTRUCTIONS if f" {name} " in text]
    versions = []
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return "; ".join([f"{(lines or [platform.machine()])[0]} ({' '.join(instructions)})", ", ".join(versions)])


def define_flags() -> None:
    flags.DEFINE_string("variant", "efficientnet-b0", "A model variant, as in a config.")
    flags.DEFINE_integer("batch_size", 16, "Images per step.")
    flags.DEFINE_list("modes", ["inference", "training"], "What is timed.")
    flags.DEFINE_integer("rounds", 9, "Turns of each contestant.")
    flags.DEFINE_integer("threads", os.cpu_count(), "Cores of each contestant.")
    flags.DEFINE_list(
        "contestants",
        ["ns_jax", "timm"],
        "Of: ns_jax[:folded|:bfloat16], plain (native convolutions), timm[:compiled|:bfloat16|:compiled_bfloat16], "
        "keras, and of inference onnxruntime, openvino[:bfloat16].",
    )
    flags.DEFINE_string("torch_python", sys.executable, "Interpreter that has torch and timm.")
    flags.DEFINE_string("keras_python", sys.executable, "Interpreter that has tensorflow.")


def main(argv) -> None:
    del argv
    pythons = {"timm": FLAGS.torch_python, "keras": FLAGS.keras_python}
    what = f"{FLAGS.variant}, batch {FLAGS.batch_size}, {FLAGS.threads} cores, {FLAGS.rounds} rounds"
    for mode in FLAGS.modes:
        table = measure(FLAGS.contestants, mode, FLAGS.variant, FLAGS.batch_size, FLAGS.rounds, FLAGS.threads, pythons)
        print(f"\n{mode}: {what}\n{machine()}\n\n{table}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
