"""What several tests of plans share: the demo's counts, a config and an estimate to change."""

from ns_jax.configs import mnist5k
from ns_jax.models.registry import get_architecture
from ns_jax.planning.estimate import Estimate
from ns_jax.planning.programs import Counts, Teacher
from tests.tiny_model import TINY

GIB = 2**30
COUNTS = Counts(labeled=100, unlabeled=3900, test=1000, classes=10)
SMALL = Teacher(get_architecture("efficientnet-small"), 28)
TINY_TEACHER = Teacher(get_architecture(TINY), 28)


def supervised(**changes):
    config = mnist5k.get_config("control")
    config.eval_batch_size = 480
    config.update(changes)
    return config


def make_estimate(**changes):
    known = {
        "stage": "train",
        "images": 30720,
        "resolution": 475,
        "runs": 100,
        "devices": 2048,
        "fits": False,
        "memory": {"parameters": 4 * GIB, "batch": 2**20},
        "memory_total": 20 * GIB,
        "code_bytes": None,
        "hbm_bytes": None,
        "padding_bytes": None,
        "flops": {"dot": 0, "conv": int(2048 * 61.5e12), "depthwise": 0},
        "traffic": (),
        "slice_bytes": 0,
        "slice_transfers": 0,
        "moments": {},
        "compile_seconds": 1.0,
    }
    return Estimate(**known | changes)
