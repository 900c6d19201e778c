"""Models side by side: python -m ns_jax.report.robustness --out=FOLDER teacher=RESULTS student=RESULTS.

Each RESULTS is a folder that python -m ns_jax.evaluate has written, or the evaluations of a run's iteration. What is
compared is what all of them have measured, of the same images.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from etils import epath

from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from ns_jax.evaluators.predictions import Predictions, read_predictions
from ns_jax.files import read_json, write_bytes
from ns_jax.report.results import markdown_table

MAX_DISAGREEMENTS = 24
Compared = dict[str, dict[str, dict]]  # {type of evaluation: {model: result}}


def read_results(folder: str) -> dict[str, dict]:
    """{name of the evaluation: result} of a folder.

    Raises:
      UserError: there is no such folder, or no result in it.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    results = {}
    for file in sorted(path.glob("*.json")):
        result = read_json(epath.Path(file))
        if isinstance(result, dict) and {"type", "test"} <= set(result):
            results[file.stem] = result
    if not results:
        raise UserError(f"{folder}: no results in it; python -m ns_jax.evaluate --out={folder} writes them")
    return results


def compare(by_model: dict[str, dict[str, dict]]) -> dict[str, dict[str, dict]]:
    """{evaluation: {model: result}} of the evaluations that all models have.

    Raises:
      UserError: one of them is of other images for one model than for another.
    """
    common = set.intersection(*(set(results) for results in by_model.values()))
    compared = {}
    for name in sorted(common):
        sources = {model: results[name]["test"] for model, results in by_model.items()}
        if len(set(sources.values())) > 1:
            differing = " and ".join(f"{test} for {model}" for model, test in sources.items())
            raise UserError(f"{name} is of {differing}: measure the models on the same images")
        compared[name] = {model: results[name] for model, results in by_model.items()}
    return compared


def numbers_of(result: dict) -> dict[str, float]:
    """The numbers of a result that a table shows."""
    return {key: value for key, value in result.items() if isinstance(value, float) and key != "seconds"}


def as_table(compared: dict[str, dict[str, dict]]) -> str:
    """Every number of every evaluation, a column for each model, in Markdown."""
    models = list(next(iter(compared.values())))
    rows = []
    for name, results in compared.items():
        for key in numbers_of(results[models[0]]):
            values = [results[model].get(key) for model in models]
            rows.append([name, key, *("-" if value is None else f"{value:.4g}" for value in values)])
    return markdown_table(["evaluation", "number", *models], rows)


def draw(compared: dict[str, dict[str, dict]], out: epath.Path) -> None:
    """Draws what has been measured."""
    from ns_jax.report import robustness_figures as figures  # matplotlib is slow to import

    by_type: Compared = {}
    for results in compared.values():
        by_type.setdefault(next(iter(results.values()))["type"], results)
    if results := by_type.get("corruptions"):
        errors = {model: result["errors"] for model, result in results.items()}
        figures.plot_corruptions(errors, out / "corruptions.png")
        figures.plot_severities(errors, out / "severities.png")
    if results := by_type.get("perturbations"):
        figures.plot_flips({model: result["flips"] for model, result in results.items()}, out / "flips.png")
    for kind in ("fgsm", "pgd"):
        if results := by_type.get(kind):
            curves = {
                model: (result["epsilons"], [right / result["count"] for right in result["correct_at"]])
                for model, result in results.items()
            }
            figures.plot_epsilons(curves, kind.upper(), out / f"{kind}.png")
    if results := by_type.get("calibration"):
        figures.plot_reliability({model: result["bins"] for model, result in results.items()}, out / "reliability.png")
    if results := by_type.get("selective"):
        curves = {model: (result["coverages"], result["risks"]) for model, result in results.items()}
        figures.plot_risks(curves, out / "selective.png")


def disagreements(first: Predictions, second: Predictions) -> np.ndarray:
    """Places of images on which exactly one of two models is right, those of which it is surest first, int64 [n]."""
    right = [predictions.probs.argmax(1) == predictions.labels for predictions in (first, second)]
    places = np.flatnonzero(right[0] != right[1])
    sureness = np.where(right[0], first.probs.max(1), second.probs.max(1))
    return places[np.argsort(-sureness[places], kind="stable")]


def draw_disagreements(name: str, folders: dict[str, str], source_name: str, data_dir: str, out: epath.Path) -> bool:
    """Draws images of an evaluation with the answers of the first two models; False where there is none to draw.

    Raises:
      UserError: the predictions are of other images, or the source cannot be opened.
    """
    from ns_jax.report import robustness_figures as figures

    models = list(folders)[:2]
    both = [read_predictions(epath.Path(folders[model]) / f"{name}.npz") for model in models]
    if len(both) < 2 or both[0] is None or both[1] is None:
        return False
    first, second = both
    if first.ids.tolist() != second.ids.tolist():
        raise UserError(f"{name}.npz of {models[0]} and of {models[1]} are of other images: measure them anew")
    places = disagreements(first, second)[:MAX_DISAGREEMENTS]
    if not len(places):
        return False
    source = open_source(source_name, data_dir)
    index_of = {id_of_image: index for index, id_of_image in enumerate(source.ids(np.arange(source.count)).tolist())}
    images, titles = [], []
    for place in places:
        images.append(source.load(np.int64(index_of[first.ids[place]]))[0].numpy())
        answers = [each.class_names[each.probs[place].argmax()] for each in (first, second)]
        lines = [f"is {first.class_names[first.labels[place]]}"]
        lines += [f"{model}: {answer}" for model, answer in zip(models, answers, strict=True)]
        titles.append("\n".join(lines))
    figures.plot_disagreements(images, titles, out / "disagreements.png")
    return True


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ns_jax.report.robustness", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="NAME=RESULTS", help="a name, and a folder of results")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="for the table and the pictures")
    parser.add_argument("--data_dir", default="", help="where TFDS keeps its data")
    flags = parser.parse_args(argv)
    try:
        folders = {}
        for argument in flags.models:
            model, equals, folder = argument.partition("=")
            if not equals or not model or model in folders:
                raise UserError(f"{argument!r}: write NAME=RESULTS, each name once")
            folders[model] = folder
        compared = compare({model: read_results(folder) for model, folder in folders.items()})
        if not compared:
            raise UserError("the models have no evaluation in common: measure the same suite of each")
        out = epath.Path(flags.out)
        table = as_table(compared)
        write_bytes(out / "robustness.md", (table + "\n").encode())
        print(table)
        draw(compared, out)
        classified = [name for name, results in compared.items() if next(iter(results.values())).get("top1")]
        for name in classified:
            source_name = next(iter(compared[name].values()))["test"]
            if draw_disagreements(name, folders, source_name, flags.data_dir, out):
                break
        print(f"written: {out}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
