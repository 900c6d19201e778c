"""Writes tiny shards of every format."""

import io
import tarfile

import numpy as np
import PIL.Image
import tensorflow as tf
from array_record.python import array_record_module


def jpeg(number: int, size=(24, 32)) -> bytes:
    """A JPEG of one color, 24 px wide and 32 high, another for each number."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, (number * 5 % 256, 90, 200)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def png(number: int) -> bytes:
    return tf.io.encode_png(np.full((12, 10, 3), number, np.uint8)).numpy()


def example(**features) -> bytes:
    """A serialized tf.train.Example; '__' stands for '/'."""
    kinds = {bytes: ("bytes_list", tf.train.BytesList), int: ("int64_list", tf.train.Int64List)}
    kinds[float] = ("float_list", tf.train.FloatList)
    result = {}
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        field, make = kinds[type(values[0])]
        result[name.replace("__", "/")] = tf.train.Feature(**{field: make(value=values)})
    return tf.train.Example(features=tf.train.Features(feature=result)).SerializeToString()


def tfrecord(path, records) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def array_record(path, records) -> None:
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in records:
        writer.write(record)
    writer.close()


def tar(path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))


def parquet(path, images, labels=None, names=(), rows=2) -> None:
    """As Hugging Face's push_to_hub writes it."""
    import json

    import pyarrow
    import pyarrow.parquet

    columns = {"image": [{"bytes": image, "path": None} for image in images]}
    info = {"image": {"_type": "Image"}}
    if labels is not None:
        columns["label"] = labels
        info["label"] = {"names": list(names), "_type": "ClassLabel"}
    table = pyarrow.table(columns)
    metadata = {"huggingface": json.dumps({"info": {"features": info}})}
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path, row_group_size=rows)
