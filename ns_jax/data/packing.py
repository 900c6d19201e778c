"""Writes the images of any source into ArrayRecord shards, which are read by index and fast.

A shard holds consecutive images of the source, so that each is a function of the source and the settings. A shard that
is complete is kept; one that is interrupted is written again. Records are tf.train.Examples:

  image   the file as it is, or resized
  label   number of its class, where there are classes
  id      the image's id in the source

OUT/shards.json says so to the source `arrayrecord:`, with the count, size, SHA-256 and broken images of each shard.
"""

import concurrent.futures
import contextlib
import csv
import dataclasses
import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import tensorflow as tf
from etils import epath

from ns_jax import buckets
from ns_jax.cores import usable_cores
from ns_jax.data.decode import decode_image
from ns_jax.data.pipeline import MIN_SIDE, named_error
from ns_jax.data.shards.layout import SIDECAR
from ns_jax.data.shards.listing import is_remote
from ns_jax.data.sources.base import Source, identity_of
from ns_jax.errors import UserError
from ns_jax.files import file_sha256, read_json, write_bytes, write_json

READ_TOGETHER = 64
# TensorFlow's message holds the record, which need not be text.
CONTENT_ERRORS = (tf.errors.OpError, UnicodeDecodeError)
JOURNAL = ".pack"  # folder of what is complete, until everything is


@dataclasses.dataclass(frozen=True)
class PackSettings:
    """How a source is packed.

    Attributes:
      per_shard: images of the source in a shard; broken ones are left out of it.
      shorter_side: in pixels; a larger image is made so small. 0: every file stays as it is.
      quality: of JPEGs that are made smaller, 1 to 95.
      name: with which the files begin.
      workers: shards that are written at a time.
    """

    per_shard: int = 10_000
    shorter_side: int = 0
    quality: int = 95
    name: str = "images"
    workers: int = dataclasses.field(default_factory=usable_cores)


class Unusable(NamedTuple):
    """An image that is left out.

    Attributes:
      id: in the source.
      reason: 'broken' (cannot be decoded) or 'small' (a side of less than MIN_SIDE pixels).
    """

    id: str
    reason: str


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decode(content):
    return decode_image(content)


def smaller(content: bytes, image: np.ndarray, settings: PackSettings) -> bytes:
    """The file of an image whose shorter side is at most `shorter_side`; the same bytes where it is that already.

    A JPEG stays a JPEG, and keeps its EXIF data; anything else becomes a PNG.

    Args:
      content: the file.
      image: uint8 [H, W, 3], decoded from it.
      settings: of the packing.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    if not settings.shorter_side or side <= settings.shorter_side:
        return content
    factor = settings.shorter_side / side
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    result = PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    if content[:2] != b"\xff\xd8":
        result.save(buffer, "PNG")
        return buffer.getvalue()
    exif = PIL.Image.open(io.BytesIO(content)).info.get("exif", b"")
    result.save(buffer, "JPEG", quality=settings.quality, exif=exif)
    return buffer.getvalue()


def _examples(source: Source, indices: np.ndarray) -> Iterator[tuple[bytes | None, int]]:
    """File and label of each of some images; None for one that is stored so badly that there is no file.

    Raises:
      UserError: something cannot be read, which says nothing about the image.
    """
    read_many = getattr(source, "read_many", None)
    if read_many is None:
        for index in indices:
            yield _read_alone(source, tf.constant(index, tf.int64))
        return
    try:
        contents, labels = read_many(tf.constant(indices, tf.int64))
        yield from zip(contents.numpy().tolist(), labels.numpy().tolist(), strict=True)
    except CONTENT_ERRORS as error:
        _raise_if_of_reading(source, error)
        if len(indices) == 1:
            yield None, -1
            return
        for index in indices:  # one of them spoils the others
            yield from _examples(source, np.array([index]))


def _read_alone(source: Source, index) -> tuple[bytes | None, int]:
    labels = getattr(source, "labels", None)
    try:
        if getattr(source, "encoded", None) is None:
            image, label = source.load(index)
            return tf.io.encode_png(image).numpy(), int(label)
        label = int(source.load(index)[1]) if labels is None else int(labels[int(index)])
        return source.encoded(index).numpy(), label
    except CONTENT_ERRORS as error:
        _raise_if_of_reading(source, error)
        return None, -1


def _raise_if_of_reading(source: Source, error: Exception) -> None:
    """Raises UserError unless an error is of an image's content."""
    if not isinstance(error, tf.errors.OpError):
        return
    if (named := named_error(error)) is not None:
        raise named from None
    if not isinstance(error, tf.errors.InvalidArgumentError | tf.errors.DataLossError):
        raise UserError(f"{source.name}: cannot read an image ({' '.join(error.message.split())[:200]})") from None


def _serialized(image: bytes, label: int, name: bytes) -> bytes:
    """A tf.train.Example; without a label where that is -1."""
    bytes_feature = lambda value: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    features = {"image": bytes_feature(image), "id": bytes_feature(name)}
    if label >= 0:
        features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)  # else another process may write other bytes


@contextlib.contextmanager
def _written(path: epath.Path) -> Iterator[str]:
    """Name of a local file that is moved to `path` when the block ends well."""
    if is_remote(str(path)):
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, path.name)
            yield local
            buckets.upload(local, path)
        return
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield str(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Packer:
    """Packs a source into a folder.

    Args:
      source: of the images.
      out: the folder, which is made.
      settings: how.

    Raises:
      UserError: the folder holds something else, or was begun with another source or other settings.
    """

    def __init__(self, source: Source, out: epath.Path, settings: PackSettings):
        self.source, self.out, self.settings = source, out, settings
        self.num_shards = -(-source.count // settings.per_shard)
        self._stop = threading.Event()
        # The identity of files is in their sizes and times, too.
        about = {"source": source.name, "identity": identity_of(source), "stamp": source.stamp, "count": source.count}
        about |= {key: value for key, value in dataclasses.asdict(settings).items() if key != "workers"}
        self._begin(about)

    def _begin(self, about: dict[str, Any]) -> None:
        sidecar, begun = self.out / SIDECAR, self.out / JOURNAL / "begun.json"
        before = read_json(sidecar).get("packed") if sidecar.exists() else None
        if before is None and begun.exists():
            before = read_json(begun)
        if before is None:
            if sidecar.exists() or self.out.exists() and any(self.out.iterdir()):
                raise UserError(f"{self.out} is not empty: choose another --out")
            (self.out / JOURNAL).mkdir(parents=True, exist_ok=True)
            write_json(begun, about)
        elif before != about:
            differs = next(key for key in about if before.get(key) != about[key])
            raise UserError(
                f"{self.out} was packed with another {differs} ({before.get(differs)!r} then, {about[differs]!r} now): "
                "choose another --out, or delete it"
            )
        self._about = about

    def path(self, number: int) -> epath.Path:
        """Where a shard is, or will be."""
        return self.out / f"{self.settings.name}-{number:05d}-of-{self.num_shards:05d}.array_record"

    def _record(self, number: int) -> epath.Path:
        return self.out / JOURNAL / f"{number:05d}.json"

    def _kept(self, number: int) -> dict[str, Any] | None:
        """What is known of a shard that is complete; None where it is to be written."""
        record, path = self._record(number), self.path(number)
        if not record.exists() or not path.exists():
            return None
        about = read_json(record)
        return about if about["size"] == path.stat().length else None

    def run(self, update: Callable[[int], None] = lambda images: None) -> dict[str, Any]:
        """Writes what is missing; `update` hears how many images are done.

        Returns:
          The content of shards.json.

        Raises:
          UserError: an image cannot be read, or there is no image that can be used.
          OSError: the disk is full. What is complete is kept.
        """
        sidecar = self.out / SIDECAR
        if sidecar.exists():
            return read_json(sidecar)
        done, lock = 0, threading.Lock()

        def add(images: int) -> None:
            nonlocal done
            with lock:
                done += images
                update(done)

        with concurrent.futures.ThreadPoolExecutor(self.settings.workers) as pool:
            waiting = [pool.submit(self._pack_shard, number, add) for number in range(self.num_shards)]
            try:
                for future in concurrent.futures.as_completed(waiting):
                    future.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        return self._finish([future.result() for future in waiting])

    def _pack_shard(self, number: int, add: Callable[[int], None]) -> dict[str, Any]:
        """Writes a shard, unless it is there; {name, count, size, sha256, unusable}."""
        start = number * self.settings.per_shard
        indices = np.arange(start, min(start + self.settings.per_shard, self.source.count))
        kept = self._kept(number)
        if kept is not None:
            add(len(indices))
            return kept
        path = self.path(number)
        with _written(path) as file:
            count, unusable = self._write(file, indices, add)
            size, digest = os.path.getsize(file), file_sha256(epath.Path(file))
        about = {"name": path.name, "count": count, "size": size, "sha256": digest, "unusable": unusable}
        write_json(self._record(number), about)
        return about

    def _write(self, file: str, indices: np.ndarray, add: Callable[[int], None]) -> tuple[int, list[Unusable]]:
        """Writes the images of a shard; how many are in it, and those that are left out."""
        from array_record.python import array_record_module

        writer = array_record_module.ArrayRecordWriter(file, "group_size:1,uncompressed")
        count, unusable = 0, []
        try:
            for start in range(0, len(indices), READ_TOGETHER):
                if self._stop.is_set():
                    raise concurrent.futures.CancelledError
                some = indices[start : start + READ_TOGETHER]
                names = self.source.ids(some).tolist()
                for name, (content, label) in zip(names, _examples(self.source, some), strict=True):
                    result = self._prepared(content)
                    if isinstance(result, str):
                        unusable.append(Unusable(os.fsdecode(name), result))
                        continue
                    writer.write(_serialized(result, label if self.source.num_classes else -1, name))
                    count += 1
                add(len(some))
        finally:
            writer.close()
        _check_whole(file, count)
        return count, unusable

    def _prepared(self, content: bytes | None) -> bytes | str:
        """The file to write, or why an image is left out."""
        if content is None:
            return "broken"
        try:
            image = _decode(content).numpy()
        except tf.errors.OpError:
            return "broken"
        if min(image.shape[:2]) < MIN_SIDE:
            return "small"
        return smaller(content, image, self.settings)

    def _finish(self, shards: list[dict[str, Any]]) -> dict[str, Any]:
        """Writes broken.csv and shards.json, and removes what was kept for a restart."""
        left_out = [Unusable(*row) for shard in shards for row in shard["unusable"]]
        num_images = sum(shard["count"] for shard in shards)
        if not num_images:
            raise UserError(f"{self.source.name} holds no image that can be used: nothing is packed")
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerows([("path", "reason"), *left_out])
        write_bytes(self.out / "broken.csv", text.getvalue().encode(errors="surrogateescape"))
        about: dict[str, Any] = {"image": "image", "checked": True, "packed": self._about}
        if self.source.num_classes:
            about |= {"label": "label", "first_label": 0, "class_names": list(self.source.class_names)}
        about["shards"] = {
            shard["name"]: {key: shard[key] for key in ("count", "size", "sha256")}
            | {"unusable": len(shard["unusable"])}
            for shard in shards
        }
        write_json(self.out / SIDECAR, about)
        (self.out / JOURNAL).rmtree()
        return about


def _check_whole(file: str, count: int) -> None:
    """Raises OSError unless an ArrayRecord file has so many records: its writer says nothing of a full disk."""
    from array_record.python import array_record_module

    reader = array_record_module.ArrayRecordReader(file)
    there = reader.num_records() if reader.ok() else 0
    reader.close()
    if there != count:
        raise OSError(f"{file} holds {there} records of {count}: the disk may be full")


def verify(out: epath.Path) -> list[str]:
    """Names of the shards of a packed folder that are missing, or whose bytes are not those that were written.

    Raises:
      UserError: it is no such folder.
    """
    sidecar = out / SIDECAR
    shards = read_json(sidecar).get("shards") if sidecar.exists() else None
    if shards is None:
        raise UserError(f"{out} is no folder that was packed: it has no complete {SIDECAR}")

    def is_wrong(name: str) -> bool:
        return not (out / name).exists() or file_sha256(out / name) != shards[name]["sha256"]

    with concurrent.futures.ThreadPoolExecutor(usable_cores()) as pool:
        return [name for name, wrong in zip(shards, pool.map(is_wrong, shards), strict=True) if wrong]
