"""Converts weights: python -m ns_jax.convert --from=X --to=Y [--format=timm]."""

import os
import sys

from absl import app, flags, logging

from ns_jax.errors import UserError
from ns_jax.host_memory import use_cpu_alone
from ns_jax.interrupt import end_at_interrupt

FLAGS = flags.FLAGS
flags.DEFINE_string("from", None, "A path or a name, as for ns_jax.load.")
flags.DEFINE_string("to", None, "What to write; it must not exist.")
flags.DEFINE_string(
    "format",
    None,
    "artifact (a model folder of this project), timm, npz, tf, saved_model, stablehlo, onnx; "
    "by the ending of --to where not given: .safetensors, .npz, .stablehlo, .onnx, else artifact.",
)
flags.DEFINE_string("variant", None, "Name of a model variant, or package.module:factory; recognised where not given.")
flags.DEFINE_bool("ema", True, "Take the moving averages of a file that also has raw weights.")
flags.DEFINE_integer("resolution", None, "In pixels; the model's own where not given.", lower_bound=1)
flags.DEFINE_string("class_names", None, "A text file with the name of one class a line.")
flags.mark_flags_as_required(["from", "to"])
TOLERANCE = 1e-4  # of the logits' standard deviation: another compiler adds in another order


def check(artifact, path, name: str) -> tuple[str, list[str]]:
    """Reads back what was written and compares.

    Returns:
      (what was compared, the fields of the metadata that a reader of such weights does not get).

    Raises:
      UserError: it is not the same.
    """
    import jax
    import numpy as np

    from ns_jax.interop import export, formats

    if name in formats.PROGRAMS:
        examples = export.random_examples(artifact.metadata, 2)
        want = np.asarray(jax.jit(export.model_function(artifact.metadata))(artifact.variables, examples))
        try:
            got = formats.PROGRAMS[name][1](path, examples)
        except UserError:
            raise
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"the program written does not run here: {reason}") from error
        difference = np.abs(got - want).max() / max(want.std(), 1e-30)
        if not difference <= TOLERANCE:
            raise UserError(f"the program written differs in its logits by {difference:.1e} of their deviation")
        return f"its logits differ by {difference:.1e} of their standard deviation", []
    again = formats.read(path, artifact.metadata["variant"] if name == "artifact" else None)
    same = jax.tree.map(np.array_equal, artifact.variables, again.variables)
    if not all(jax.tree.leaves(same)):
        raise UserError("the weights read back are not those that were written")
    lost = [
        key
        for key in ("variant", "class_names", "resolution", "crop_padding", "interpolation", "mean", "std")
        if not np.array_equal(again.metadata[key], artifact.metadata[key])
    ]
    return f"{len(jax.tree.leaves(same))} arrays read back are the same bits", lost


def class_names(path) -> list[str]:
    """The lines of a text file. Raises UserError for one that is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8") from None


def main(argv) -> None:
    logging.set_verbosity(logging.WARNING)
    try:
        if len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]!r}")
        from etils import epath

        from ns_jax.artifact.metadata import is_of_arrays
        from ns_jax.inference.model import read
        from ns_jax.interop import formats
        from ns_jax.interop.adapt import adapt
        from ns_jax.interop.foreign import check_artifact

        target = epath.Path(FLAGS.to)
        name = FLAGS.format or formats.format_of(target)
        formats.check_target(target, name)
        names = class_names(epath.Path(FLAGS.class_names)) if FLAGS.class_names else None
        artifact = adapt(read(FLAGS["from"].value, FLAGS.variant, FLAGS.ema), FLAGS.resolution, None, names)
        check_artifact(artifact)
        # In a folder that says what it holds until that is known to be right.
        folder = target.with_name(f"unchecked-{target.name}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise UserError(
                f"{folder} exists: a conversion to {target} is running or was interrupted; delete it, or "
                "choose another name"
            ) from None
        try:
            formats.write(folder / target.name, artifact, name)
            comparison, lost = check(artifact, folder / target.name, name)
            (folder / target.name).rename(target)
        finally:
            folder.rmtree()
        metadata = artifact.metadata
        size = metadata["input_shape"] if is_of_arrays(metadata) else f"{metadata['resolution']} px"
        print(f"{target}: {metadata['variant']}, {len(metadata['class_names'])} classes, {size}; {comparison}")
        if lost:
            print(f"not in {target}: {', '.join(lost)} (this format carries weights only)")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cpu_alone()
    end_at_interrupt("interrupted")
    app.run(main)
