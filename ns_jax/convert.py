"""Converts weights: python -m ns_jax.convert --from=X --to=Y [--format=timm]."""

import os
import shutil
import sys

from absl import app, flags, logging

from ns_jax.errors import UserError

FLAGS = flags.FLAGS
FORMATS = ("artifact", "timm", "npz", "tf", "saved_model", "stablehlo")
flags.DEFINE_string("from", None, "A path or a name, as for ns_jax.load.")
flags.DEFINE_string("to", None, "What to write; it must not exist.")
flags.DEFINE_enum("format", None, FORMATS, "Of --to; by its ending where not given: .safetensors, .npz, .stablehlo, "
                  "else a model folder of this project.")  # fmt: skip
flags.DEFINE_string("variant", None, "Row of ns_jax/models/variants.py; recognised where not given.")
flags.DEFINE_bool("ema", True, "Take the moving averages of a file that also has raw weights.")
flags.DEFINE_integer("resolution", None, "In pixels; the model's own where not given.", lower_bound=1)
flags.DEFINE_string("class_names", None, "A text file with the name of one class a line.")
flags.mark_flags_as_required(["from", "to"])
TOLERANCE = 1e-4  # of the logits' standard deviation: another compiler adds in another order


def check(artifact, path, name: str) -> str:
    """Reads back what was written and compares. Raises UserError if it is not the same; says what was compared."""
    import jax
    import numpy as np

    from ns_jax.interop import export, formats

    if name in formats.PROGRAMS:
        size = artifact.card["resolution"]
        images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
        want = np.asarray(jax.jit(export.logits_function(artifact.card))(artifact.variables, images))
        try:
            got = formats.PROGRAMS[name][1](path, images)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"the program written does not run here: {reason}") from error
        error = np.abs(got - want).max() / max(want.std(), 1e-30)
        if not error <= TOLERANCE:
            raise UserError(f"the program written differs in its logits by {error:.1e} of their deviation")
        return f"its logits differ by {error:.1e} of their standard deviation"
    again = formats.read(path, artifact.card["variant"])
    same = jax.tree.map(np.array_equal, artifact.variables, again.variables)
    if not all(jax.tree.leaves(same)):
        raise UserError("the weights read back are not those that were written")
    return f"{len(jax.tree.leaves(same))} arrays read back are the same bits"


def main(argv) -> None:
    logging.set_verbosity(logging.WARNING)
    try:
        if len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]!r}")
        from etils import epath

        from ns_jax.interop import formats
        from ns_jax.interop.adapt import adapt
        from ns_jax.model import read

        target = epath.Path(FLAGS.to)
        if target.exists():
            raise UserError(f"{target} exists: nothing is overwritten, delete it or choose another name")
        names = None
        if FLAGS.class_names:
            names = epath.Path(FLAGS.class_names).read_text().splitlines()
        name = FLAGS.format or formats.format_of(target)
        artifact = adapt(read(FLAGS["from"].value, FLAGS.variant, FLAGS.ema), FLAGS.resolution, None, names)
        # Under a name that says what it is until it is known to be right; the ending is that of a format.
        unchecked = target.with_name(f"unchecked-{target.name}")
        try:
            formats.write(unchecked, artifact, name)
            found = check(artifact, unchecked, name)
        except BaseException:
            shutil.rmtree(unchecked, ignore_errors=True)
            unchecked.unlink(missing_ok=True)
            raise
        unchecked.rename(target)
        print(f"{target}: {artifact.card['variant']}, {len(artifact.card['class_names'])} classes, "
              f"{artifact.card['resolution']} px; {found}")  # fmt: skip
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(main)
