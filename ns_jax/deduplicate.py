"""Finds unlabeled images that are the same as test or labeled ones, which a run then leaves out.

  python -m ns_jax.deduplicate --config=configs/b0_ns.py:same_teacher --out=duplicates.jsonl
  python -m ns_jax.deduplicate --unlabeled=folder:unlabeled --against=folder:test --out=duplicates.jsonl

Prints how many there are, and some of them. A run honours the file with --config.data.exclude=duplicates.jsonl.
"""

import io
import os
import sys
from collections.abc import Sequence

from absl import app, flags

from ns_jax.command_line import fail, parse_flags
from ns_jax.errors import UserError
from ns_jax.host_memory import use_cpu_alone
from ns_jax.interrupt import end_at_interrupt

FLAGS = flags.FLAGS
EXAMPLES = 3  # printed of each kind


def define_flags() -> None:
    flags.DEFINE_string("unlabeled", None, "Source of the unlabeled images; default: data.unlabeled of --config.")
    flags.DEFINE_multi_string(
        "against",
        None,
        "Source whose images must not be among the unlabeled ones; may be repeated. Default: data.test, data.labeled "
        "and the sources of the evaluations of --config.",
    )
    flags.DEFINE_string("out", None, "File to write.")
    flags.DEFINE_integer(
        "distance",
        4,
        "Most bits of 64 in which the perceptual hashes of near-duplicates differ; -1: equal bytes and pixels alone.",
        lower_bound=-1,
        upper_bound=31,
    )
    flags.DEFINE_string("data_dir", None, "Where TFDS keeps its data; default: data.dir of --config.")
    flags.mark_flag_as_required("out")


def sources_of(config) -> tuple[list[str], list[str]]:
    """Source strings of a config's iterations: the unlabeled ones, and those that they are compared with."""
    from ns_jax.experiment.chain import iterations

    unlabeled, against = [], []
    for _, iteration in iterations(config):
        data = iteration.data
        unlabeled.append(data.unlabeled)
        against += [data.test, *(evaluation.data for evaluation in iteration.evaluations.values()), data.labeled]
    return _distinct(unlabeled), _distinct(against)


def _distinct(names: Sequence[str]) -> list[str]:
    """Each name once, in order, without empty ones."""
    return [name for name in dict.fromkeys(names) if name]


def choose_sources(config, unlabeled: str | None, against: Sequence[str] | None) -> tuple[str, list[str]]:
    """What is compared with what: as named, or else as in the config.

    Raises:
      UserError: something is not named, or an image would be compared with itself.
    """
    of_config, others = sources_of(config) if config is not None else ([], [])
    names = [unlabeled] if unlabeled else of_config
    if not names:
        raise UserError("name the unlabeled images: --unlabeled=SOURCE, or --config=FILE.py of an experiment with some")
    if len(names) > 1:
        raise UserError(f"the config has several sources of unlabeled images: choose with --unlabeled={names[0]}")
    chosen = list(dict.fromkeys(against or others))
    if not chosen:
        raise UserError("name what the unlabeled images must not hold: --against=SOURCE, or --config=FILE.py")
    if names[0] in chosen:
        raise UserError(
            f"{names[0]} would be compared with itself, and every image be a duplicate: name the others with --against"
        )
    return names[0], chosen


def check_out(path) -> None:
    """Raises UserError where a file is in the way that is not of this command, OSError where none can be written."""
    from ns_jax.data.duplicates.sidecar import read_header
    from ns_jax.files import check_writable

    check_writable(path)
    if path.exists():
        try:
            read_header(path)
        except UserError:
            raise UserError(f"{path} exists and is no file of this command: choose another --out") from None


def deduplicate(unlabeled: str, against: Sequence[str], out, distance: int, data_dir: str) -> None:
    """Compares the sources, writes the sidecar `out`, and prints what was found.

    Raises:
      UserError: a source cannot be opened, or ImageHash is missing.
    """
    import numpy as np

    from ns_jax.cores import usable_cores
    from ns_jax.data.duplicates.fingerprints import perceptual_hash, stored_fingerprints
    from ns_jax.data.duplicates.matching import find_duplicates
    from ns_jax.data.duplicates.sidecar import write_sidecar
    from ns_jax.data.sources.registry import open_source
    from ns_jax.report.progress import StageProgress

    method = perceptual_hash()[1] if distance >= 0 else ""
    others = {}
    for name in against:
        source = open_source(name, data_dir)
        source = getattr(source, "original", None) or source  # of changed copies, the images themselves
        others[source.name] = source
    sources = [open_source(unlabeled, data_dir, labels=False), *others.values()]
    hashed, broken = [], []
    for source in sources:
        with StageProgress(source.name, source.count, unit="images") as progress:
            hashed.append(
                stored_fingerprints(source, distance, out, lambda done, bar=progress: bar.update(done, "hashing"))
            )
        broken.append(np.setdiff1d(np.arange(source.count), hashed[-1]["index"]))
    duplicates = find_duplicates(hashed[0], hashed[1:], distance, usable_cores())
    write_sidecar(out, sources[0], sources[1:], duplicates, broken, distance, method)
    print_result(sources, duplicates, broken, distance)
    print(f"written: {out}; a run leaves them out with --config.data.exclude={out}", flush=True)


def print_result(sources: Sequence, duplicates, broken: Sequence, distance: int) -> None:
    """Prints how many images there are, cannot be decoded, and are duplicates, with some of each kind."""
    from ns_jax.data.duplicates.matching import KINDS
    from ns_jax.data.duplicates.sidecar import count_kinds, describe_duplicates, to_text

    for source, indices in zip(sources, broken, strict=True):
        names = ", ".join(to_text(name) for name in source.ids(indices[:EXAMPLES]).tolist())
        more = ", ..." if len(indices) > EXAMPLES else ""
        print(
            f"{source.name}: {source.count} images, {len(indices)} could not be decoded"
            + (f" and were not compared ({names}{more})" if names else "")
        )
    counts = count_kinds(duplicates)
    within = f" (distance up to {distance})" if distance >= 0 else " (not looked for)"
    print(
        f"{len(duplicates)} of {sources[0].count} unlabeled images are duplicates: {counts['bytes']} with the same "
        f"bytes, {counts['pixels']} with the same pixels, {counts['near']} near{within}"
    )
    for number, kind in enumerate(KINDS):
        some = duplicates[duplicates["kind"] == number][:EXAMPLES]
        for line in describe_duplicates(sources[0], sources[1:], some):
            by = f" at distance {line['distance']}" if kind == "near" else ""
            print(f"  {kind}{by}: {line['id']} is {line['equals']} of {line['source']}")


def main(argv) -> None:
    if len(argv) > 1:
        fail(UserError(f"unexpected argument {argv[1]!r}"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every name of a file can be printed
    try:
        from etils import epath

        unlabeled, against = choose_sources(FLAGS.config, FLAGS.unlabeled, FLAGS.against)
        out = epath.Path(os.path.expanduser(FLAGS.out))
        check_out(out)
        data_dir = FLAGS.data_dir or (FLAGS.config.data.dir if FLAGS.config is not None else "")
        deduplicate(unlabeled, against, out, FLAGS.distance, data_dir)
    except UserError as error:
        fail(error)
    except OSError as error:
        fail(UserError(f"{error.filename or FLAGS.out}: {error.strerror or error}"))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cpu_alone()
    define_flags()
    end_at_interrupt("interrupted")
    app.run(main, flags_parser=parse_flags)
