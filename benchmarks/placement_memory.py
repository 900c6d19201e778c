"""Host memory that placing and restoring a model takes, in 1, 2, 4 and 8 processes of one machine.

  python -m benchmarks.placement_memory --mib=300 --processes=1,2,4,8

Each process has one CPU device and the whole model, as on hosts that share no state. The table has the largest
resident memory while a model that is in host memory is placed, and while it is restored from a checkpoint, above what
the process had before. On a CPU the device's copy is host memory, too: the size of the model itself is in both.
"""

import functools
import multiprocessing
import os
import socket
import tempfile

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
ARRAYS = 10


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def memory(name: str) -> float:
    """A line of this process's status, as 'VmRSS' or 'VmHWM', MiB."""
    with open("/proc/self/status") as file:
        (line,) = [line for line in file if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


def peak_of(work) -> tuple[float, object]:
    """How much the resident memory of this process grew at most during `work`, MiB, and what `work` returns."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark begins anew
    before = memory("VmRSS")
    result = work()
    return memory("VmHWM") - before, result


def _place(mesh, host: dict):
    import jax

    from ns_jax.parallel.mesh import place_whole

    return jax.block_until_ready(place_whole(mesh, host))


def measure_process(number: int, count: int, port: int, folder: str, mib: int, results) -> None:
    """In a process of its own: puts (number, MiB of placing, MiB of restoring) into a queue."""
    os.environ |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    import jax
    from etils import epath

    from ns_jax.checkpoint import Checkpoints
    from ns_jax.parallel.coordination import TimeOuts, start_coordination
    from ns_jax.parallel.hosts import barrier
    from ns_jax.parallel.mesh import make_mesh, place_whole, replicated
    from ns_jax.training.state import TrainState

    if count > 1:
        jax.distributed.initialize(f"localhost:{port}", count, number)
        start_coordination(TimeOuts())
    mesh, rows = make_mesh(), mib * 2**20 // ARRAYS // 4096
    # Place something small first, so that what jax makes once does not count.
    place_whole(mesh, [np.zeros(8, np.float32)])
    host = {f"array_{i}": np.full((rows, 1024), i, np.float32) for i in range(ARRAYS)}
    barrier("placing begins")
    placing, params = peak_of(functools.partial(_place, mesh, host))
    host.clear()
    step = place_whole(mesh, np.zeros((), np.int32))
    state = TrainState(step, params, {}, {}, {}, {})
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)), state)
    checkpoints = Checkpoints(epath.Path(folder) / "checkpoints", 1)
    checkpoints.save(state, 1)
    checkpoints.wait()
    del state, params
    barrier("restoring begins")
    restoring, restored = peak_of(lambda: jax.block_until_ready(checkpoints.restore_newest(like)))
    assert float(restored.params[f"array_{ARRAYS - 1}"].addressable_data(0)[0, 0]) == ARRAYS - 1
    results.put((number, placing, restoring))
    barrier("all have measured")
    checkpoints.close()


def measure(count: int, mib: int, folder: str) -> list[tuple[float, float]]:
    """(MiB of placing, MiB of restoring) of each of `count` processes."""
    # Forked from one that has imported everything and started nothing.
    processes, port = multiprocessing.get_context("forkserver"), free_port()
    processes.set_forkserver_preload(["ns_jax.checkpoint"])
    results = processes.Queue()
    started = [
        processes.Process(target=measure_process, args=(number, count, port, folder, mib, results))
        for number in range(count)
    ]
    for process in started:
        process.start()
    measured = sorted(results.get(timeout=600) for _ in started)
    for process in started:
        process.join()
    return [(placing, restoring) for _, placing, restoring in measured]


def table(counts: list[int], mib: int) -> str:
    """A line for each number of processes, with the largest figures of any of them."""
    lines = ["| processes | placing, MiB | restoring, MiB |", "|---|---|---|"]
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            measured = measure(count, mib, folder)
        placing, restoring = (max(values) for values in zip(*measured, strict=True))
        lines.append(f"| {count} | {placing:.0f} | {restoring:.0f} |")
    return "\n".join(lines)


def main(argv) -> None:
    del argv
    print(f"a model of {FLAGS.mib} MiB\n\n{table([int(count) for count in FLAGS.processes], FLAGS.mib)}")


def define_flags() -> None:
    flags.DEFINE_integer("mib", 300, "Size of the model.")
    flags.DEFINE_list("processes", ["1", "2", "4", "8"], "Numbers of processes.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
