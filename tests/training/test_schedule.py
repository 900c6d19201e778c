import numpy as np
import pytest

from ns_jax.configs import common, svhn
from ns_jax.run.settings import schedule_settings
from ns_jax.training.schedule import ema_decay, learning_rate_schedule, num_train_steps


def test_learning_rate_has_warmup_and_staircase():
    config = common.get_config()  # batch 2048: peak 0.128
    images = 2048 * 100  # an epoch is 100 steps
    settings = schedule_settings(config)
    schedule = learning_rate_schedule(settings, images)
    assert num_train_steps(settings, images) == 35_000
    warmup = {step: 0.128 * step / 500 for step in (0, 1, 2, 100, 239, 240, 241, 250, 479, 480, 498, 499)}
    decays = {
        500: 2,
        501: 2,
        719: 2,
        720: 3,
        721: 3,
        959: 3,
        960: 4,
        12_000: 50,
        34_799: 144,
        34_800: 145,
        34_999: 145,
        35_000: 145,
    }
    for step, rate in (warmup | {step: 0.128 * 0.97**count for step, count in decays.items()}).items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5), step


def test_a_schedule_can_begin_later():
    config = common.get_config()
    whole = learning_rate_schedule(schedule_settings(config), 204_800)
    config.schedule_start_epoch = 348.5
    late = learning_rate_schedule(schedule_settings(config), 204_800)
    assert [float(late(step)) for step in (0, 100, 149)] == [float(whole(34_850 + step)) for step in (0, 100, 149)]


def test_sampled_labels_make_the_batch_smaller():
    config = common.get_config()
    config.labeled_sample_prob = 0.5
    schedule = learning_rate_schedule(schedule_settings(config), 204_800)
    assert num_train_steps(schedule_settings(config), 204_800) == 70_000
    assert float(schedule(1000)) == pytest.approx(0.064 * 0.97**2, rel=1e-5)


def test_final_rate_is_reached_at_the_end():
    settings = schedule_settings(svhn.get_config())
    schedule = learning_rate_schedule(settings, 69_257)
    end = num_train_steps(settings, 69_257)
    assert end == 109_474  # the official number of steps
    final = 2e-4 * 128 / 256
    # Decays count from step 0 while their length leaves out the 5 warm-up epochs: two or three more.
    assert final * 0.97**4 < float(schedule(end)) <= final


def test_ema_warms_up():
    """Until update 89,989, where (1 + n) / (10 + n) passes 0.9999."""
    steps = (0, 1, 2, 3, 8, 9, 10, 90, 91, 99, 100, 999, 1000, 9999, 10_000, 89_988, 89_989, 89_990, 89_991, 10**7)
    expected = [(1 + n) / (10 + n) if n < 89_990 else 0.9999 for n in steps]
    np.testing.assert_allclose([float(ema_decay(0.9999, n)) for n in steps], expected, rtol=1e-6)
    assert ema_decay(0.9999, 0) == np.float32(0.1) and ema_decay(0.9999, 90) == np.float32(0.91)
