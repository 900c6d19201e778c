"""A plan as text and as JSON."""

import dataclasses
import json

import pytest

from ns_jax.planning.estimate import Traffic
from ns_jax.planning.hardware import parse_topology
from ns_jax.planning.text import Plan, as_json, as_text, problems
from tests.planning.shapes import COUNTS, GIB, SMALL, make_estimate, supervised


def make_plan(*estimates, teacher=None, price=None, **changes):
    config = supervised(**changes)
    return Plan("iteration_1", config, parse_topology("v3:32x32"), COUNTS, teacher, list(estimates), 0.5, price=price)


def lines_of(text: str) -> dict[str, list[str]]:
    """{first cell: the others} of the lines of a Markdown table."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_text():
    fits = {
        "fits": True,
        "hbm_bytes": int(900e9),
        "padding_bytes": int(90e9),
        "code_bytes": GIB,
        "memory_total": 15 * GIB,
    }
    traffic = (Traffic("all-reduce", 2048, 7, 5_000_000),)
    memory = {"parameters": GIB, "temporaries": 14 * GIB}
    training = make_estimate(**fits, runs=86400, traffic=traffic, memory=memory, moments={"restart": 3 * GIB})
    labels = make_estimate(stage="label", memory={"parameters": 2 * GIB, "batch": GIB}, resolution=None)
    text = as_text(make_plan(labels, training, teacher=SMALL))
    assert text.startswith(
        "iteration_1 efficientnet-small, taught by efficientnet-small at 28 px on v3:32x32: 2048 devices of v3, each "
        "61.5 TFLOP/s, 15.48 GiB\n"
    )
    lines = lines_of(text)
    assert lines["of one device"] == ["label", "train"]
    assert lines["resolution, pixels"] == ["-", "475"]
    assert lines["batch, GiB"] == ["1.00", "-"] and lines["temporaries, GiB"] == ["-", "14.00"]
    assert lines["memory of 15.48 GiB"] == ["at least 20.00", "15.00"]
    assert lines["fits"] == ["NO", "yes"] and lines["code beside it, GiB"] == ["-", "1.00"]
    assert lines["sent, MB"] == ["-", "5"] and lines["memory traffic, GB"] == ["-", "900"]
    assert lines["at least ms: compute"] == ["1e+03", "1e+03"]
    assert lines["of it padding of tiles"] == ["-", "10%"] and lines["restart, GiB"] == ["-", "3.00"]
    assert lines["at least ms: network"] == ["-", "0.31"]  # 7 x 40 us and 5 MB
    assert lines["days at 50%"] == ["0.00", "2.00"]
    assert "to ask for: v3-2048; 256 hosts, ct3p-hightpu-4t on GKE" in text
    assert "train: 7 collectives, at 40 to 100 us each 0 to 1 ms" in text
    assert "train: 7 x all-reduce among 2048 devices, 5.00 MB sent by each device" in text
    assert "2.00 days in all: 50% of the peak FLOP/s" in text and "; 5.01 at 20%, 10.01 at 10%" in text
    assert text.endswith("The paper: 6 days for efficientnet-l2 at 14:1 on 2048 cores of v3")


def test_the_papers_own_training_is_compared():
    training = make_estimate(runs=3 * 86400)
    text = as_text(make_plan(training, variant="efficientnet-l2", unlabeled_ratio=14))
    assert text.endswith("on 2048 cores of v3; training would take as long at 50%")


@pytest.mark.parametrize(
    ("stage", "searched", "advice"),
    [
        ("train", False, "v4:8x16x16 may do. --search looks for a config.parallel with which it does"),
        ("train", True, "v4:8x16x16 may do."),
        ("label", False, "v4:8x16x16 may do."),
    ],
)
def test_what_does_not_fit_has_advice(stage, searched, advice):
    fits = make_estimate(stage="evaluate", fits=True)
    (problem,) = problems(make_plan(make_estimate(stage=stage), fits), searched)
    assert problem == f"iteration_1 {stage} (20.0 of 15.48 GiB; {advice})"
    (problem,) = problems(make_plan(make_estimate(memory={"parameters": 200 * GIB}, memory_total=300 * GIB)), True)
    assert problem.endswith("no slice has enough as it is.)")


def test_json():
    plan = json.loads(json.dumps(as_json(make_plan(make_estimate(runs=86400)))))
    assert plan["iteration"] == "iteration_1" and plan["parallel"]["shard_state"] == 1
    (program,) = plan["programs"]
    assert program["days"] == pytest.approx(2.0) and program["roofline_seconds"]["compute"] == pytest.approx(1.0)


def test_a_price():
    text = as_text(make_plan(make_estimate(runs=86400), price=1.5))
    assert f"price: about {24 * 2 * 1024 * 1.5:,.0f} for 1024 chips at 1.5 a chip and hour; 184,320 at 20%" in text
    assert "price" not in as_text(make_plan(make_estimate(runs=86400)))


def test_an_input_that_is_too_slow_is_counted():
    """A step of 4,096 images in half a millisecond: 32,000 images/s a host, more than 24 cores decode."""
    flops = {"dot": 0, "conv": int(2048 * 61.5e12 / 4000), "depthwise": 0}
    fast = make_estimate(images=4096, resolution=224, runs=86400 * 2000, flops=flops, fits=True)
    plan = make_plan(fast, variant="efficientnet-b0")
    (part,) = plan.inputs()
    assert part.needed == pytest.approx(32_000) and part.gives < part.needed
    assert plan.days_with_input() == pytest.approx(plan.days(0.5) * part.needed / part.gives)
    assert f"{plan.days_with_input():.2f} days at 50% with what the input is assumed to give" in as_text(plan)
    assert "with what the input" not in as_text(make_plan(make_estimate(runs=86400)))


def test_what_does_not_fit_beside_the_steps():
    fits = make_estimate(fits=True, memory_total=10 * GIB, moments={"restart": 4 * GIB, "model written": 16 * GIB})
    (problem,) = problems(make_plan(fits), searched=False)
    assert problem.startswith("iteration_1 train (16.0 of 15.48 GiB at the moment 'model written'; split the state: ")


def test_the_order_of_devices_is_said():
    plan = dataclasses.replace(make_plan(make_estimate()), mesh_note="no ring")
    assert "mesh: no ring" in as_text(plan).splitlines()
