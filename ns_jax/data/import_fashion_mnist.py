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

from ns_jax.errors import UserError

DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Folder of TFDS data sets: --config.data.dir of a run.")
flags.DEFINE_string("source", DEBIAN_FOLDER, "Folder with the four *-ubyte.gz files.")

# SHA-256 of the uncompressed files, by `zcat FILE | sha256sum`.
CONTENTS = {
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
}


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
