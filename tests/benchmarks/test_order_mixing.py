from benchmarks.order_mixing import mixing


def test_lanes_mix_between_a_buffer_and_the_global_order_and_read_few_shards():
    measured = mixing(100_000, 50, 500, 256, 2, buffer=2000)
    entropy = {name.partition(",")[0]: of.entropy for name, of in measured.items()}
    assert min(entropy["global"], entropy["lanes"]) > entropy["buffer of 2"] > entropy["as they lie"] == 0
    everything, lanes, *_ = measured.values()
    assert lanes.shards <= 4 < everything.shards
    assert abs(everything.distance - 1 / 3) < 0.05 and lanes.distance > 0.2
