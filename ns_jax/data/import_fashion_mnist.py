"""Puts Fashion-MNIST files that are on this machine where TFDS looks for its downloads.

  python -m ns_jax.data.import_fashion_mnist --data_dir=DATA [--source=FOLDER]

Debian's package dataset-fashion-mnist ships the four files with the original arrays, compressed
anew, so that their checksums are not the registered ones; the arrays are checked here instead.
"""

import gzip
import hashlib
import urllib.parse

from absl import app, flags
from etils import epath

from ns_jax.data.sources.fashion_mnist import CONTENTS, DEBIAN_FOLDER
from ns_jax.errors import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Folder of TFDS data sets: --config.data.dir of a run.")
flags.DEFINE_string("source", DEBIAN_FOLDER, "Folder with the four *-ubyte.gz files.")


def import_files(source: str, data_dir: str) -> None:
    """Copies the four files into TFDS's download cache under `data_dir`.

    Raises:
      UserError: a file is missing or does not hold the arrays of Fashion-MNIST.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import resource

    folder = epath.Path(data_dir).expanduser() / "downloads" / "fashion_mnist"
    builder_class = tfds.builder_cls("fashion_mnist")
    for name, checksum in CONTENTS.items():
        path = epath.Path(source) / name
        if not path.exists():
            raise UserError(
                f"{path} does not exist: apt-get install dataset-fashion-mnist, or name the folder with --source"
            )
        data = path.read_bytes()
        if hashlib.sha256(gzip.decompress(data)).hexdigest() != checksum:
            raise UserError(f"{path} does not hold the images of Fashion-MNIST")
        url = urllib.parse.urljoin(builder_class.URL, name)
        info = builder_class.url_infos[url]
        location = resource.Resource(url=url)
        target = folder / location.relative_download_dir / resource.get_dl_fname(url, info.checksum)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        resource.write_info_file(url=url, path=target, dataset_name="fashion_mnist", original_fname=name, url_info=info)


def main(argv) -> None:
    del argv
    try:
        import_files(FLAGS.source, FLAGS.data_dir)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"Fashion-MNIST is in {FLAGS.data_dir}: run with --config.data.dir={FLAGS.data_dir}")


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
