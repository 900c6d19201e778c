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
BATCH = 32


def image_files(arguments: list[str]) -> list[str]:
    """The files that are named, and the images below the folders that are named, in order of their names.

    Raises:
      UserError: nothing is named, or a folder holds no images.
    """
    from ns_jax.data.sources import IMAGE_SUFFIXES

    if not arguments:
        raise UserError("name images or folders after the flags")
    found = []
    for argument in arguments:
        if not os.path.isdir(argument):
            found.append(argument)
            continue
        inside = [os.path.join(folder, name) for folder, _, names in os.walk(argument) for name in names
                  if name.lower().endswith(IMAGE_SUFFIXES)]  # fmt: skip
        if not inside:
            raise UserError(f"no images in {argument}")
        found += sorted(inside)
    return found


def answers(model, files: list[str], top: int):
    """Yields (file, predictions, None), or (file, None, what is wrong with it), in order."""
    import numpy as np

    for start in range(0, len(files), BATCH):
        images, problems = {}, {}
        for file in files[start : start + BATCH]:
            try:
                images[file] = model.preprocess(file)
            except UserError as error:
                problems[file] = str(error)
        rows = iter(model.top_classes(model.logits(np.stack(list(images.values()))), top) if images else [])
        for file in files[start : start + BATCH]:
            yield (file, None, problems[file]) if file in problems else (file, next(rows), None)


def write_files(results: list, json_path: str | None, csv_path: str | None) -> None:
    """Writes {file: [{index, class, probability}]} and the same as a table, where asked for."""
    from etils import epath

    from ns_jax.files import write_bytes, write_json

    if json_path:
        write_json(epath.Path(json_path), {
            file: [{"index": p.index, "class": p.name, "probability": p.probability} for p in predictions]
            for file, predictions in results})  # fmt: skip
    if csv_path:
        text = io.StringIO()
        table = csv.writer(text)
        table.writerow(["image", "rank", "index", "class", "probability"])
        for file, predictions in results:
            table.writerows([file, rank, p.index, p.name, p.probability] for rank, p in enumerate(predictions, 1))
        write_bytes(epath.Path(csv_path), text.getvalue().encode())


def main(argv) -> None:
    results, failed = [], 0
    try:
        files = image_files(argv[1:])
        from ns_jax import load

        model = load(FLAGS.model, FLAGS.variant)
        for file, predictions, problem in answers(model, files, FLAGS.top):
            if problem:
                failed += 1
                print(f"error: {problem}", file=sys.stderr, flush=True)
                continue
            results.append((file, predictions))
            print(file)
            for prediction in predictions:
                print(f"  {100 * prediction.probability:6.2f} %  {prediction.name}", flush=True)
        write_files(results, FLAGS.json, FLAGS.csv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if failed:
        print(f"error: {failed} of {len(files)} images could not be read", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(main)
