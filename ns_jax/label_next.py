"""Which unlabeled images to label next: python -m ns_jax.label_next --run=DIR [--count=100].

Writes DIR/report/label_next.csv, and the same as pictures, label_next.html: the images of which the run's model is
least sure, balanced over the classes that it predicts and over clusters of images that look alike to it.
"""

import os

from absl import app, flags

from ns_jax.buckets import absolute
from ns_jax.command_line import fail, parse_flags
from ns_jax.errors import UserError
from ns_jax.host_memory import use_cpu_alone
from ns_jax.interrupt import end_at_interrupt

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("run", None, "Folder of a run.")
    flags.DEFINE_integer("count", 100, "Images to choose.", lower_bound=1)
    flags.mark_flag_as_required("run")


def main(argv) -> None:
    if len(argv) > 1:
        fail(UserError(f"unexpected argument {argv[1]!r}"))
    from ns_jax.fitting.label_next import label_next  # here, so that --help is quick

    try:
        number, clustered = label_next(absolute(FLAGS.run), FLAGS.count)
    except UserError as error:
        fail(error)
    over = "classes and clusters of features" if clustered else "classes"
    print(f"label_next: {number} images, balanced over {over}: {FLAGS.run}/report/label_next.html and .csv")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cpu_alone()
    end_at_interrupt("interrupted")
    define_flags()
    app.run(main, flags_parser=parse_flags)
