"""Packs images into ArrayRecord shards, which are read by index at the speed of files, from a disk or a bucket.

  python -m ns_jax.pack --source=folder:photos --out=photos_packed
  python -m ns_jax.pack --source='wds:/data/train-*.tar' --out=gs://bucket/train --shorter_side=600

SOURCE is any of docs/data.md. The same command goes on where it was interrupted. A run then reads
--config.data.unlabeled='arrayrecord:photos_packed/images-*'. --verify compares the shards with their checksums.
"""

import os
import sys

from absl import app, flags

from ns_jax.command_line import fail, one_line, parse_flags
from ns_jax.errors import UserError
from ns_jax.host_memory import use_cpu_alone
from ns_jax.interrupt import end_at_interrupt

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("source", None, "Source of the images.")
    flags.DEFINE_string("out", None, "Folder to write, which is empty or was begun by the same command.")
    flags.DEFINE_integer("per_shard", 10_000, "Images of the source in a shard.", lower_bound=1)
    flags.DEFINE_integer("shorter_side", 0, "In pixels, of larger images; 0: every file stays as it is.", lower_bound=0)
    flags.DEFINE_integer("quality", 95, "Of JPEGs that are made smaller.", lower_bound=1, upper_bound=95)
    flags.DEFINE_string("name", "images", "With which the names of the shards begin.")
    flags.DEFINE_bool("labels", True, "Without, sub-folders of folder: need not be classes, and labels are left out.")
    flags.DEFINE_integer("workers", None, "Shards that are written at a time; default: the cores.", lower_bound=1)
    flags.DEFINE_string("data_dir", "", "Where TFDS keeps its data.")
    flags.DEFINE_bool("verify", False, "Only compare the shards in --out with their checksums.")
    flags.mark_flag_as_required("out")


def check_shards(out) -> None:
    """Prints whether all shards are as they were written. Raises UserError where some are not."""
    from ns_jax.data.packing import verify

    wrong = verify(out)
    if wrong:
        raise UserError(f"{out}: {len(wrong)} shards are missing or damaged, first {wrong[0]}: copy or pack them again")
    print(f"{out}: every shard is as it was written", flush=True)


def pack(name: str, out, settings, labels: bool, data_dir: str) -> None:
    """Packs a source, and prints what there is.

    Raises:
      UserError: see `Packer`.
      OSError: the disk is full.
    """
    import dataclasses

    from ns_jax.data.packing import Packer
    from ns_jax.data.sources.registry import open_source
    from ns_jax.report.progress import StageProgress

    source = open_source(name, data_dir, labels)
    if not labels:
        source = dataclasses.replace(source, class_names=())
    packer = Packer(source, out, settings)
    with StageProgress("pack", source.count, unit="images") as progress:
        about = packer.run(lambda done: progress.update(done, source.name))
    shards = about["shards"].values()
    count, size = sum(shard["count"] for shard in shards), sum(shard["size"] for shard in shards)
    left_out = source.count - count
    print(f"{out}: {count} images in {len(shards)} shards, {size / 1e9:.3g} GB", flush=True)
    if left_out:
        print(f"{left_out} of {source.count} cannot be used and are left out: {out / 'broken.csv'}", flush=True)
    pattern = f"{out}/{settings.name}-*"
    open_source(f"arrayrecord:{pattern}", labels=False)  # so that its index lies beside the shards
    print(f"a run reads them as 'arrayrecord:{pattern}'", flush=True)


def main(argv) -> None:
    if len(argv) > 1:
        fail(UserError(f"unexpected argument {argv[1]!r}"))
    try:
        from etils import epath

        from ns_jax.data.packing import PackSettings

        out = epath.Path(os.path.expanduser(FLAGS.out))
        if FLAGS.verify:
            check_shards(out)
            return
        if not FLAGS.source:
            raise UserError("name the images: --source=folder:photos")
        settings = PackSettings(FLAGS.per_shard, FLAGS.shorter_side, FLAGS.quality, FLAGS.name)
        if FLAGS.workers:
            settings = PackSettings(FLAGS.per_shard, FLAGS.shorter_side, FLAGS.quality, FLAGS.name, FLAGS.workers)
        pack(FLAGS.source, out, settings, FLAGS.labels, FLAGS.data_dir)
    except UserError as error:
        fail(error)
    except (OSError, RuntimeError) as error:
        fail(UserError(f"{FLAGS.out}: {one_line(error)}; what is complete is kept, and the same command goes on"))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stdout.reconfigure(errors="backslashreplace")  # not every name of a file can be printed
    use_cpu_alone()
    define_flags()
    end_at_interrupt("interrupted; the same command goes on where this one ended")
    app.run(main, flags_parser=parse_flags)
