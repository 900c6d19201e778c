"""Classifies images: python -m ns_jax.predict --model=X IMAGE_OR_FOLDER... [--top=5] [--json=F] [--csv=F]."""

import contextlib
import csv
import importlib
import io
import os
import sys
import threading

from absl import app, flags

from ns_jax.buckets import explain
from ns_jax.errors import UserError
from ns_jax.host_memory import use_cpu_alone
from ns_jax.interrupt import end_at_interrupt

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A path or a name, as for ns_jax.load.")
flags.DEFINE_string("variant", None, "Name of a model variant, or package.module:factory; recognised where not given.")
flags.DEFINE_integer("top", 5, "Classes per image.", lower_bound=1)
flags.DEFINE_string("json", None, "Write the predictions here, as JSON.")
flags.DEFINE_string("csv", None, "Write the predictions here, as CSV: image, rank, index, class, probability.")
flags.DEFINE_enum("engine", "jax", ["jax", "onnxruntime", "openvino"], "What computes; others than jax are for CPUs.")
flags.DEFINE_bool("cache", True, "Keep compiled programs in the user's cache folder, for the next time.")
flags.mark_flag_as_required("model")


def image_files(arguments: list[str]) -> list[str]:
    """The files that are named, and the images below the folders that are named, in order of their names, each once.

    Symbolic links are followed. A line on stderr says how many files of a folder are left out: those with other
    endings, and pipes and devices.

    Raises:
      UserError: nothing is named, or a folder holds no images.
      OSError: a folder cannot be read.
    """
    if not arguments:
        raise UserError("name images or folders after the flags")
    files = []
    for argument in arguments:
        files += _images_below(argument) if os.path.isdir(argument) else [argument]
    return list(dict.fromkeys(files))


def _images_below(root: str) -> list[str]:
    from ns_jax.data.sources.base import IMAGE_SUFFIXES

    images, others, seen = [], 0, set()
    for folder, inner, names in os.walk(root, onerror=_raise, followlinks=True):
        if os.path.realpath(folder) in seen:  # a link back
            inner.clear()
            continue
        seen.add(os.path.realpath(folder))
        for name in names:
            path = os.path.join(folder, name)
            # A link to nothing stays: it is an image that cannot be read. A pipe would never end.
            if name.lower().endswith(IMAGE_SUFFIXES) and (os.path.isfile(path) or not os.path.exists(path)):
                images.append(path)
            else:
                others += 1
    if not images:
        raise UserError(f"no images in {root} ({', '.join(IMAGE_SUFFIXES)})")
    if others:
        print(f"{root}: left out {others} that are not files ending in {', '.join(IMAGE_SUFFIXES)}", file=sys.stderr)
    return sorted(images)


def _raise(error: OSError):
    raise error


def check_outputs(outputs: list[str], inputs: list[str]) -> None:
    """Checks, before the work, that results can be written and replace nothing but older results.

    Args:
      outputs: files to write.
      inputs: files and folders that are read.

    Raises:
      UserError: an output is an input or in a folder of the model, a link, no regular file, or named twice.
      OSError: it could not be written.
    """
    from etils import epath

    from ns_jax.files import check_writable

    read = {os.path.realpath(path) for path in inputs}
    written = set()
    for output in outputs:
        if os.path.islink(output):
            raise UserError(f"{output} is a link, and would be replaced: name the file itself")
        if os.path.exists(output) and not os.path.isfile(output) and not os.path.isdir(output):
            raise UserError(f"{output} is not a regular file, and would be replaced: choose another name")
        for path in (output, f"{output}.tmp"):  # it is written under the second name first
            real = os.path.realpath(path)
            if real in read or os.path.exists(path) and any(_is_same(path, other) for other in inputs):
                raise UserError(f"{output} would replace {path}, which is read: choose another name")
            if real in written:
                raise UserError(f"{output} is named twice: choose another name for one of the results")
            written.add(real)
        check_writable(epath.Path(output))


def _is_same(first: str, second: str) -> bool:
    """Whether two paths are the same file, as hard links are."""
    return os.path.exists(second) and os.path.samefile(first, second)


def _files_of_model(model: str) -> list[str]:
    """Files that a model's name may stand for, as far as they are on this machine."""
    if not os.path.isdir(model):
        return [model]
    return [os.path.join(folder, name) for folder, _, names in os.walk(model) for name in names]


def write_files(results: list, json_path: str | None, csv_path: str | None) -> None:
    """Writes {file: [{index, class, probability}]} and the same as a table, where asked for."""
    from etils import epath

    from ns_jax.files import write_bytes, write_json

    if json_path:
        write_json(
            epath.Path(json_path),
            {
                file: [{"index": p.index, "class": p.name, "probability": p.probability} for p in predictions]
                for file, predictions in results
            },
        )
    if csv_path:
        text = io.StringIO()
        table = csv.writer(text)
        table.writerow(["image", "rank", "index", "class", "probability"])
        for file, predictions in results:
            table.writerows([file, rank, p.index, p.name, p.probability] for rank, p in enumerate(predictions, 1))
        # Names of files that are not UTF-8 stay the bytes that they are.
        write_bytes(epath.Path(csv_path), text.getvalue().encode(errors="surrogateescape"))


def _import_input() -> None:
    """Imports what reads images, TensorFlow, which takes seconds: beside the opening of the model."""
    with contextlib.suppress(Exception):  # it shows again where it is used
        importlib.import_module("ns_jax.data.preprocess")


def cache_folder() -> str:
    """Where compiled programs are kept: $JAX_COMPILATION_CACHE_DIR, else ns_jax in the user's cache folder."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.path.join(folder, "ns_jax", "compilation_cache")


def keep_programs() -> None:
    """Lets jax keep what it compiles in `cache_folder`. A folder that cannot be written is left alone."""
    import jax

    with contextlib.suppress(OSError):
        os.makedirs(cache_folder(), exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", cache_folder())
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def main(argv) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every name of a file can be printed
    results, failed = [], 0
    try:
        files = image_files(argv[1:])
        outputs = [path for path in (FLAGS.json, FLAGS.csv) if path]
        if outputs:
            check_outputs(outputs, files + _files_of_model(FLAGS.model))

        if os.path.exists(FLAGS.model):  # else it may be a name that nobody has
            importing = threading.Thread(target=_import_input)  # which the process waits for, also if it fails
            importing.start()
        if FLAGS.cache:
            keep_programs()
        from ns_jax import load

        model = load(FLAGS.model, FLAGS.variant, engine=FLAGS.engine)
        for file, answer in zip(files, model.predict_each(files, FLAGS.top), strict=True):
            if isinstance(answer, UserError):
                failed += 1
                print(f"error: {answer}", file=sys.stderr, flush=True)
                continue
            results.append((file, answer))
            print(file)
            for prediction in answer:
                print(f"  {100 * prediction.probability:6.2f} %  {prediction.name}", flush=True)
        write_files(results, FLAGS.json, FLAGS.csv)
    except (UserError, OSError) as error:
        print(f"error: {explain(error) or error}", file=sys.stderr)
        sys.exit(2)
    if failed:
        print(f"error: {failed} of {len(files)} images could not be read", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cpu_alone()
    end_at_interrupt("interrupted")
    app.run(main)
