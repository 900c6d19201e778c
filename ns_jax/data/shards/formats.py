"""The files that hold many images: what is learned about a shard, and how its records are read.

A format offers
  ROW: dtype of what is kept of each record, or None where the file finds its records itself;
  scan(source, shard) -> Scan;
  open_shard(shard, in_sequence) -> what `read` takes; in_sequence: many records that lie near each other are read;
  read(opened, rows, positions) -> (records, labels or None): `rows` are those of the shard, or None.

holds_examples says what a record is, in_groups whether one can only be read with many others.

Of TFRecord and ArrayRecord a record is a tf.train.Example, of tar and Parquet it is the image.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from ns_jax import buckets
from ns_jax.data.shards.listing import Shard, is_remote
from ns_jax.data.shards.ranges import RangeFile
from ns_jax.data.sources.base import IMAGE_SUFFIXES
from ns_jax.errors import UserError

GAP = 1 << 20  # bytes between two records that are rather read than asked around
READ_AT_ONCE = 16 << 20  # bytes


class Scan(NamedTuple):
    """What is learned about a shard once.

    Attributes:
      count: its number of records.
      rows: what is kept of each, [count], or None.
      first: the first record, b'' where there is none.
      class_names: where the file says them.
      has_labels: whether its images have labels; None where the records must be looked into.
    """

    count: int
    rows: np.ndarray | None
    first: bytes
    class_names: tuple[str, ...] = ()
    has_labels: bool | None = None


class Format(Protocol):
    """See the top of this module."""

    holds_examples: bool
    in_groups: bool
    row: np.dtype | None

    def scan(self, source: str, shard: Shard) -> Scan: ...

    def open_shard(self, shard: Shard, in_sequence: bool = False): ...

    def read(self, opened, rows: np.ndarray | None, positions: np.ndarray) -> tuple[list[bytes], np.ndarray | None]: ...


def truncated(source: str, shard: Shard, why: str) -> UserError:
    """The error of a shard that is not whole."""
    return UserError(f"{source}: {shard.path} is truncated or damaged ({why}): write or copy it again")


class ArrayRecord:
    """Shards that know where each of their records is."""

    holds_examples, in_groups, row = True, False, None

    def scan(self, source: str, shard: Shard) -> Scan:
        reader = self.open_shard(shard)
        # The reader of what is no ArrayRecord, or is cut off, has no records and says nothing.
        count = reader.num_records() if reader.ok() else 0
        if not reader.ok() or not count and not reader.writer_options_string():
            _check_readable(source, shard)
            raise truncated(source, shard, "it has no footer of an ArrayRecord file")
        first = reader.read([0])[0] if count else b""
        reader.close()
        return Scan(count, None, first)

    def open_shard(self, shard: Shard, in_sequence: bool = False):
        from array_record.python import array_record_module

        ahead, parallel, buffer = (READ_AT_ONCE, 1, READ_AT_ONCE) if in_sequence else (0, 0, 32768)
        options = f"readahead_buffer_size:{ahead},max_parallelism:{parallel}"
        return array_record_module.ArrayRecordReader(shard.path, options, file_reader_buffer_size=buffer)

    def read(self, opened, rows, positions):
        del rows
        return opened.read(positions.tolist()), None


class TFRecord:
    """Records one after the other, each with its length before it and checksums; not compressed."""

    holds_examples, in_groups = True, False
    row = np.dtype([("offset", "<u8"), ("size", "<u4")])
    HEADER, FOOTER = 12, 4  # length and its checksum, checksum of the record

    def scan(self, source: str, shard: Shard) -> Scan:
        rows = []
        with open_sequential(shard) as file:
            offset, size = 0, 0
            while offset < shard.size:
                header = file.read(self.HEADER)
                size = int.from_bytes(header[:8], "little")
                end = offset + self.HEADER + size + self.FOOTER
                if len(header) < self.HEADER or end > shard.size:
                    raise truncated(source, shard, f"record {len(rows)} goes beyond its end")
                rows.append((offset + self.HEADER, size))
                file.seek(end)
                offset = end
        table = np.array(rows, self.row)
        first = self.read(self.open_shard(shard), table, np.zeros(1, np.int64))[0][0] if rows else b""
        return Scan(len(rows), table, first)

    def open_shard(self, shard: Shard, in_sequence: bool = False):
        del in_sequence
        return RangeFile(shard)

    def read(self, opened, rows, positions):
        return _read_ranges(opened, rows[positions]), None


class Tar:
    """Samples as webdataset has them: files of one name, the image and, as .cls, the number of its class."""

    holds_examples, in_groups = False, False
    row = np.dtype([("offset", "<u8"), ("size", "<u4"), ("label", "<i4")])

    def scan(self, source: str, shard: Shard) -> Scan:
        rows, key, row = [], None, (0, 0, -1)
        try:
            with open_sequential(shard) as stream, tarfile.open(fileobj=stream, mode="r:") as file:
                for member in file:
                    folder, name = os.path.split(member.name)
                    if not member.isfile() or name.startswith("."):
                        continue
                    stem, _, suffix = name.partition(".")
                    if (folder, stem) != key:
                        if key is not None:
                            rows.append(row)
                        key, row = (folder, stem), (0, 0, -1)
                    if f".{suffix}".lower().endswith(IMAGE_SUFFIXES):
                        row = (member.offset_data, member.size, row[2])
                    elif suffix == "cls":
                        row = (*row[:2], int(file.extractfile(member).read()))
                    if member.offset_data + member.size > shard.size:
                        raise truncated(source, shard, f"{member.name} goes beyond its end")
                    file.members = []  # tarfile would keep them all
        except (tarfile.TarError, OSError) as error:
            raise truncated(source, shard, " ".join(str(error).split())) from None
        except ValueError:
            raise UserError(f"{source}: {shard.path}: {member.name} holds no number of a class") from None
        if key is not None:
            rows.append(row)
        # The format ends every file with zeros; one that was cut off between two members is not noticed otherwise.
        end = RangeFile(shard).read(max(0, shard.size - tarfile.BLOCKSIZE), tarfile.BLOCKSIZE)
        if shard.size % tarfile.BLOCKSIZE or end != tarfile.NUL * tarfile.BLOCKSIZE:
            raise truncated(source, shard, "it does not end as a tar file")
        table = np.array(rows, self.row)
        labels = table["label"] >= 0
        if labels.any() and not labels.all():
            raise UserError(f"{source}: {shard.path}: {(~labels).sum()} of {len(labels)} images have no label (.cls)")
        return Scan(len(rows), table, b"", has_labels=bool(labels.any()))

    def open_shard(self, shard: Shard, in_sequence: bool = False):
        del in_sequence
        return RangeFile(shard)

    def read(self, opened, rows, positions):
        return _read_ranges(opened, rows[positions]), rows["label"][positions].astype(np.int32)


class Parquet:
    """Tables with a column 'image' of bytes, or of bytes and path as Hugging Face has it, and perhaps 'label'."""

    holds_examples, in_groups, row = False, True, None
    KEPT = 2  # row groups of a shard that stay in memory

    def scan(self, source: str, shard: Shard) -> Scan:
        import pyarrow

        try:
            file = open_parquet_file(shard)
        except (pyarrow.ArrowException, OSError) as error:
            raise truncated(source, shard, " ".join(str(error).split())[:150]) from None
        if not file.metadata.num_rows:
            return Scan(0, None, b"")
        schema = file.schema_arrow
        if "image" not in schema.names:
            raise UserError(f"{source}: {shard.path} has no column 'image': it has {', '.join(schema.names)}")
        kind = schema.field("image").type
        has_bytes = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
        if not has_bytes and not (pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
            raise UserError(f"{source}: {shard.path}: the column 'image' holds {kind}, and not the bytes of images")
        names = ()
        if b"huggingface" in (schema.metadata or {}):
            features = json.loads(schema.metadata[b"huggingface"]).get("info", {}).get("features", {})
            names = tuple(features.get("label", {}).get("names", ()))
        return Scan(file.metadata.num_rows, None, b"", names, "label" in schema.names)

    def open_shard(self, shard: Shard, in_sequence: bool = False):
        del in_sequence
        return _ParquetShard(open_parquet_file(shard), self.KEPT)

    def read(self, opened, rows, positions):
        del rows
        return opened.read(positions)


class _ParquetShard:
    """Rows of an open Parquet file; the groups of rows that were used last stay decoded."""

    def __init__(self, file, kept: int):
        import threading

        self._file, self._kept, self._groups, self._lock = file, kept, {}, threading.Lock()
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._columns = [name for name in ("image", "label") if name in file.schema_arrow.names]

    def _group(self, number: int):
        with self._lock:
            if number not in self._groups:
                while len(self._groups) >= self._kept:
                    del self._groups[next(iter(self._groups))]
                self._groups[number] = self._file.read_row_group(number, columns=self._columns, use_threads=False)
            return self._groups[number]

    def read(self, positions: np.ndarray) -> tuple[list[bytes], np.ndarray]:
        records, labels = [b""] * len(positions), np.full(len(positions), -1, np.int32)
        groups = np.searchsorted(self._starts, positions, "right") - 1
        for place in np.argsort(groups, kind="stable").tolist():
            table = self._group(int(groups[place]))
            row = int(positions[place] - self._starts[groups[place]])
            image = table.column("image")[row].as_py()
            records[place] = (image.get("bytes") if isinstance(image, dict) else image) or b""
            if "label" in self._columns:
                label = table.column("label")[row].as_py()
                labels[place] = -1 if label is None else label
        return records, labels


def _check_readable(source: str, shard: Shard) -> None:
    """Raises UserError where the end of a file in a bucket cannot be read: ArrayRecord's reader does not say why."""
    if not is_remote(shard.path):
        return
    try:
        buckets.read(shard.path, max(0, shard.size - 1), shard.size)
    except Exception as error:
        reason = buckets.explain(error, shard.path) or " ".join(str(error).split())[:200]
        raise UserError(f"{source}: cannot read {shard.path} ({reason})") from None


def open_parquet_file(shard: Shard):
    """Opens a Parquet file, of a bucket too."""
    import pyarrow.parquet

    if not is_remote(shard.path):
        return pyarrow.parquet.ParquetFile(shard.path)
    return pyarrow.parquet.ParquetFile(buckets.open_object(shard.path))


def open_sequential(shard: Shard):
    """Opens a file to be read from its beginning."""
    if not is_remote(shard.path):
        return open(shard.path, "rb", buffering=0)
    return buckets.open_object(shard.path)


def _read_ranges(opened: RangeFile, rows: np.ndarray) -> list[bytes]:
    """The bytes of some records; of one that is cut off as many as there are.

    From a bucket, records that lie beside each other, or nearly, come with one request.
    """
    if not opened.is_remote:
        ranges = zip(rows["offset"].tolist(), rows["size"].tolist(), strict=True)
        return [opened.read(offset, size) if size else b"" for offset, size in ranges]
    records = [b""] * len(rows)
    for members in _near_each_other(rows):
        first = int(rows["offset"][members[0]])
        last = rows[members[-1]]
        content = opened.read(first, int(last["offset"]) + int(last["size"]) - first)
        for place in members.tolist():
            begin = int(rows["offset"][place]) - first
            records[place] = content[begin : begin + int(rows["size"][place])]
    return records


def _near_each_other(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the places of records that one request is to fetch, int64 [n] each, ordered by offset."""
    order = np.argsort(rows["offset"], kind="stable")
    order = order[rows["size"][order] > 0]
    start = 0
    for place in range(1, len(order) + 1):
        if place < len(order):
            before, after, first = rows[order[place - 1]], rows[order[place]], rows[order[start]]
            gap = int(after["offset"]) - int(before["offset"]) - int(before["size"])
            if gap <= GAP and int(after["offset"]) + int(after["size"]) - int(first["offset"]) <= READ_AT_ONCE:
                continue
        if start < place:
            yield order[start:place]
        start = place


FORMATS: dict[str, Format] = {"arrayrecord": ArrayRecord(), "tfrecord": TFRecord(), "wds": Tar(), "parquet": Parquet()}
