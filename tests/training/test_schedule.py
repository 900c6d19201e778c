import numpy as np
import pytest

from configs import common, svhn
from ns_jax.training.schedule import ema_decay, learning_rate_schedule, num_train_steps


def test_learning_rate_has_warmup_and_stairs():
    config = common.get_config()  # batch 2048: peak 0.128
    images = 2048 * 100  # an epoch is 100 steps
    schedule = learning_rate_schedule(config, images)
    assert num_train_steps(config, images) == 35_000
    expected = {0: 0.0, 1: 0.128 / 500, 250: 0.064, 499: 0.128 * 499 / 500, 500: 0.128 * 0.97**2,
                719: 0.128 * 0.97**2, 720: 0.128 * 0.97**3, 35_000: 0.128 * 0.97**145}  # fmt: skip
    for step, rate in expected.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5), step


def test_final_rate_is_reached_at_the_end():
    config = svhn.get_config()
    schedule = learning_rate_schedule(config, 69_257)
    end = num_train_steps(config, 69_257)
    assert end == 109_474  # the official number of steps
    final = 2e-4 * 128 / 256
    # Stairs count from step 0 while their length leaves out the 5 warm-up epochs: two or three more.
    assert final * 0.97**4 < float(schedule(end)) <= final


def test_ema_warms_up():
    found = [float(ema_decay(0.9999, n)) for n in (0, 1, 90, 89_989, 10**7)]
    np.testing.assert_allclose(found, [1 / 10, 2 / 11, 91 / 100, 89_990 / 89_999, 0.9999], rtol=1e-6)
