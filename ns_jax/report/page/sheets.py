"""Sheets of images: what the teacher was most and least sure of, mistakes, and where teacher and student differ."""

from collections.abc import Callable, Sequence

import numpy as np

from ns_jax.artifact.class_names import readable_name
from ns_jax.errors import UserError
from ns_jax.evaluators.predictions import Predictions
from ns_jax.pseudo_labels.survey import KINDS
from ns_jax.report.collect import CollectedIteration
from ns_jax.report.images import Album, Thumbnail, thumbnails
from ns_jax.report.page.markup import Markup, element, join, paragraph
from ns_jax.report.page.run_data import PageRun

COUNT = 24  # images of a sheet


def section(run: PageRun) -> Markup:
    """The four sheets, as far as there is something to show; a line where a source cannot be opened."""
    parts = [*unlabeled_sheets(run), *test_sheets(run)]
    return join([part for part in parts if part])


def unlabeled_sheets(run: PageRun) -> list[Markup]:
    """The surest and the least sure pseudo-labels of the last student's teacher."""
    if not run.students:
        return []
    last = run.students[-1]
    labels = last.collected.labels
    name = run.teacher_of(last)
    teacher = name.title if name else "the teacher"
    records, ids = (np.concatenate(parts) for parts in zip(*(labels.samples[kind] for kind in KINDS[:2]), strict=True))
    num_surest = len(labels.samples["surest"][0])
    rows = {
        f"Unlabeled images of which {teacher} is surest, the classes in turn": surest(records[:num_surest]),
        f"Unlabeled images of which {teacher} is least sure": num_surest + least_sure(records[num_surest:]),
    }

    def lines(place: int) -> tuple[str, ...]:
        record = records[place]
        return (f"{readable_name(labels.class_names[record['label']])} {record['confidence']:.2f}",)

    return sheets_of(last.collected.unlabeled, last.collected, ids, rows, lines, records["index"])


def surest(records: np.ndarray) -> np.ndarray:
    """Places among records of the surest: of each class the surest, then of each the second, and so on."""
    first = np.searchsorted(records["label"], records["label"])
    rank = np.arange(len(records)) - first
    return np.lexsort((-records["confidence"], rank))[:COUNT]


def least_sure(records: np.ndarray) -> np.ndarray:
    """Places among records of the least sure of all classes."""
    return np.lexsort((records["place"], records["confidence"]))[:COUNT]


def test_sheets(run: PageRun) -> list[Markup]:
    """Mistakes of the chosen model, worst first, and images where its teacher gives another answer."""
    chosen = run.chosen
    predictions = chosen.predictions() if chosen else None
    if predictions is None:
        return []
    rows = {
        f"{chosen.images.capitalize()} that {chosen.title} gets wrong, the surest mistakes first": mistakes(predictions)
    }
    teacher = run.teacher_of(chosen)
    before = teacher.predictions() if teacher else None
    if before is not None and np.array_equal(before.ids, predictions.ids):
        caption = f"{chosen.images.capitalize()} of which {chosen.title} and its teacher say different things"
        rows[caption] = differences(predictions, before)

    def lines(place: int) -> tuple[str, ...]:
        said = [f"is {readable_name(predictions.class_names[predictions.labels[place]])}"]
        for title, each in ((chosen.title, predictions), (teacher.title if teacher else "", before)):
            if each is not None:
                answer = each.probs[place].argmax()
                said.append(f"{title}: {readable_name(each.class_names[answer])} {each.probs[place, answer]:.2f}")
        return tuple(said)

    return sheets_of(chosen.result["test"], chosen.collected, predictions.ids, rows, lines)


def mistakes(predictions: Predictions) -> np.ndarray:
    """Places of wrong answers, the highest confidence first."""
    wrong = np.flatnonzero(predictions.probs.argmax(1) != predictions.labels)
    return wrong[np.argsort(-predictions.probs[wrong].max(1), kind="stable")][:COUNT]


def differences(predictions: Predictions, before: Predictions) -> np.ndarray:
    """Places where two models give different answers, those first on which both are sure."""
    differ = np.flatnonzero(predictions.probs.argmax(1) != before.probs.argmax(1))
    sure = np.minimum(predictions.probs[differ].max(1), before.probs[differ].max(1))
    return differ[np.argsort(-sure, kind="stable")][:COUNT]


def sheets_of(
    source: str,
    collected: CollectedIteration,
    ids: np.ndarray,
    rows: dict[str, np.ndarray],
    lines: Callable[[int], tuple[str, ...]],
    likely: np.ndarray | None = None,
) -> list[Markup]:
    """A sheet for each caption with its places in `ids`; a line instead where the source gives no images.

    `likely` is int64, where the images were when they were labeled.
    """
    if not any(len(places) for places in rows.values()):
        return []
    try:
        album = Album(source, collected.data_dir, collected.exif_orientation)
        return [
            sheet(
                caption,
                thumbnails(
                    album, ids[places], [lines(place) for place in places], None if likely is None else likely[places]
                ),
            )
            for caption, places in rows.items()
            if len(places)
        ]
    except UserError as error:
        return [paragraph(f"No pictures: {error}", class_="note")]


def sheet(caption: str, pictures: Sequence[Thumbnail]) -> Markup:
    """A grid of thumbnails with what is said of each."""
    figures = []
    for picture in pictures:
        alt = f"{picture.name}: {', '.join(picture.lines)}"
        image = Markup(element("img", src=picture.uri, alt=alt, title=picture.name)[: -len("</img>")])
        lines = [element("span", line) for line in picture.lines]
        figures.append(element("figure", image, element("figcaption", *lines)))
    return join([element("h3", caption), element("div", join(figures), class_="sheet")])
