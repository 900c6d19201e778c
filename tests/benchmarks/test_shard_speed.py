from benchmarks.shard_speed import images_per_second, write_formats


def test_every_format_is_read(tmp_path):
    sources = write_formats(tmp_path, 12)
    assert list(sources) == ["folder", "arrayrecord", "tfrecord", "wds", "parquet"]
    for name in sources.values():
        wall, processor = images_per_second(name, 1)
        assert wall > 0 and processor > 0
