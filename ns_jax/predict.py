"""Classifies images: python -m ns_jax.predict --model=X IMAGE_OR_FOLDER... [--top=5] [--json=F] [--csv=F]."""

import csv
import io
import os
import sys

from absl import app, flags

from ns_jax.errors import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A path or a name, as for ns_jax.load.")
flags.DEFINE_string("variant", None, "Row of ns_jax/models/variants.py; recognised where not given.")
flags.DEFINE_integer("top", 5, "Classes per image.", lower_bound=1)
flags.DEFINE_string("json", None, "Write the predictions here, as JSON.")
flags.DEFINE_string("csv", None, "Write the predictions here, as CSV: image, rank, index, class, probability.")
flags.mark_flag_as_required("model")


def image_files(arguments: list[str]) -> list[str]:
    """The files that are named, and the images below the folders that are named, in order of their names, each once.

    Symbolic links are followed. A line on stderr says how many files of a folder have other endings.

    Raises:
      UserError: nothing is named, or a folder holds no images.
      OSError: a folder cannot be read.
    """
    from ns_jax.data.sources import IMAGE_SUFFIXES

    if not arguments:
        raise UserError("name images or folders after the flags")
    found = []
    for argument in arguments:
        if not os.path.isdir(argument):
            found.append(argument)
            continue
        inside, others, seen = [], 0, set()
        for folder, inner, names in os.walk(argument, onerror=_raise, followlinks=True):
            if os.path.realpath(folder) in seen:  # a link back
                inner.clear()
                continue
            seen.add(os.path.realpath(folder))
            images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
            inside += [os.path.join(folder, name) for name in images]
            others += len(names) - len(images)
        if not inside:
            raise UserError(f"no images in {argument} ({', '.join(IMAGE_SUFFIXES)})")
        if others:
            print(f"{argument}: left out {others} that do not end in {', '.join(IMAGE_SUFFIXES)}", file=sys.stderr)
        found += sorted(inside)
    return list(dict.fromkeys(found))


def _raise(error: OSError):
    raise error


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


def main(argv) -> None:
    sys.stdout.reconfigure(errors="backslashreplace")  # not every name of a file can be printed
    results, failed = [], 0
    try:
        files = image_files(argv[1:])
        from etils import epath

        from ns_jax import load
        from ns_jax.files import check_writable

        for path in filter(None, (FLAGS.json, FLAGS.csv)):
            check_writable(epath.Path(path))
        model = load(FLAGS.model, FLAGS.variant)
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
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if failed:
        print(f"error: {failed} of {len(files)} images could not be read", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(main)
