"""A stand-in for gcloud: TPUs whose workers are processes of this machine.

It understands what launch/tpu.py calls, keeps its state in the folder STAND_IN and appends every call to
calls.jsonl there. Each worker of a TPU has a home folder of its own, which is deleted with the TPU. `preempt NAME`
(of the tests, not of gcloud) is what a preemption does: SIGTERM, then the machines are gone.

For jax.distributed a worker looks like one task of a Slurm job.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

FOLDER = pathlib.Path(os.environ.get("STAND_IN", ""))
WORKERS = 2
# Of the flags in gcloud's reference, those that somebody may want here; the first are required.
TPU = (
    {"accelerator-type"},
    {
        "spot",
        "reserved",
        "network",
        "subnetwork",
        "internal-ips",
        "data-disk",
        "metadata",
        "service-account",
        "labels",
        "tags",
        "scopes",
        "async",
    },
)
COMMANDS = {
    ("tpu-vm", "create"): (TPU[0] | {"version"}, TPU[1]),
    ("tpu-vm", "describe"): (set(), set()),
    ("tpu-vm", "delete"): (set(), {"async"}),
    ("tpu-vm", "ssh"): ({"worker", "command"}, {"internal-ip", "ssh-flag", "ssh-key-file"}),
    ("queued-resources", "create"): (TPU[0] | {"node-id", "runtime-version"}, TPU[1]),
    ("queued-resources", "describe"): (set(), set()),
    ("queued-resources", "delete"): ({"force"}, {"async"}),  # gcloud refuses an active one without it
}
EVERYWHERE = {"project", "zone"}, {"quiet", "format"}


def fail(message: str):
    sys.exit(f"ERROR: (gcloud) {message}")


def options(arguments: list[str]) -> dict:
    pairs = [argument[2:].split("=", 1) for argument in arguments if argument.startswith("--")]
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


def node_file(name: str) -> pathlib.Path:
    return FOLDER / f"{name}.json"


def not_found(name: str):
    fail(f"NOT_FOUND: Resource 'projects/p/locations/z/nodes/{name}' was not found")


def read(name: str) -> dict:
    if not node_file(name).exists():
        not_found(name)
    return json.loads(node_file(name).read_text())


def write(name: str, **node) -> None:
    node_file(name).write_text(json.dumps(node))


def homes(name: str) -> list[pathlib.Path]:
    return [FOLDER / name / read(name)["disk"] / f"worker-{number}" for number in range(WORKERS)]


def fail_some_times(file: str, message: str) -> None:
    """As many times as the number in the file says."""
    path = FOLDER / file
    left = int(path.read_text()) if path.exists() else 0
    if left:
        path.write_text(str(left - 1))
        fail(message)


def create(name: str, queued: bool) -> None:
    fail_some_times("refusals", "RESOURCE_EXHAUSTED: There is no more capacity in the zone")
    if node_file(name).exists():
        fail(f"ALREADY_EXISTS: Resource '{name}' already exists")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        write(
            name,
            state="READY",
            port=free.getsockname()[1],
            queued=queued,
            queue=["WAITING_FOR_RESOURCES"] if queued else [],
            disk=str(time.time_ns()),
        )
    for home in homes(name):
        home.mkdir(parents=True)


def processes(name: str) -> list[int]:
    """Everything that a worker's home folder is the HOME of."""
    pids, marks = [], {f"HOME={home}".encode() for home in homes(name)}
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if marks & set(path.read_bytes().split(b"\0")):
                pids.append(int(path.parent.name))
    return pids


def end_processes(name: str, kind: signal.Signals) -> None:
    for pid in processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)


def preempt(name: str) -> None:
    end_processes(name, signal.SIGTERM)
    time.sleep(0.2)
    write(name, **read(name) | {"state": "PREEMPTED"})
    end_processes(name, signal.SIGKILL)
    shutil.rmtree(FOLDER / name, ignore_errors=True)  # a command that came before may still write there


def delete(name: str, group: str) -> None:
    node = read(name)
    end_processes(name, signal.SIGKILL)
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    if node["queued"] and group == "tpu-vm":  # the queued resource stays, and stays active for a while
        write(name, **node | {"state": "DELETED"})
    else:
        node_file(name).unlink()


def queue_state(name: str) -> str:
    """One state of the queue a look, then what the node makes of it."""
    node = read(name)
    if node["queue"]:
        write(name, **node | {"queue": node["queue"][1:]})
        return node["queue"][0]
    return {"READY": "ACTIVE", "PREEMPTED": "SUSPENDED", "DELETED": "ACTIVE"}[node["state"]]


def node_state(name: str) -> str:
    if read(name)["state"] == "DELETED":
        not_found(name)
    return read(name)["state"]


def ssh(name: str, worker: str, command: str) -> int:
    node = read(name)
    if node["state"] != "READY":
        fail(f"TPU {name} is in state {node['state']}")
    chosen = range(WORKERS) if worker == "all" else [int(worker)]
    running = {}
    for number in chosen:
        environment = os.environ | {
            "HOME": str(homes(name)[number]),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
            "JAX_COORDINATOR_ADDRESS": f"localhost:{node['port']}",
            "SLURM_JOB_ID": "1",
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": str(WORKERS),
            "SLURM_PROCID": str(number),
            "SLURM_LOCALID": "0",
        }
        running[number] = subprocess.Popen(["bash", "-c", command], cwd=homes(name)[number], env=environment)
    codes = {number: process.wait() for number, process in running.items()}
    for number, code in codes.items():
        if code:
            print(f"##### Command execution on worker {number} failed with exit status {code}.", file=sys.stderr)
    return next((code for code in codes.values() if code), 0)


def main(arguments: list[str]) -> int:
    with (FOLDER / "calls.jsonl").open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    if arguments[:2] != ["compute", "tpus"]:
        fail(f"Invalid choice: {arguments[0]!r}")
    group, verb, name, *rest = arguments[2:]
    fail_some_times(f"offline-{verb}", "There was a problem refreshing your current auth tokens")
    flags = options(rest)
    if (group, verb) not in COMMANDS:
        fail(f"Invalid choice: {verb!r}")
    required, other = (known | common for known, common in zip(COMMANDS[group, verb], EVERYWHERE, strict=True))
    if missing := required - set(flags):
        fail(f"argument --{min(missing)}: Must be specified.")
    if unknown := set(flags) - required - other:
        fail(f"unrecognized arguments: --{min(unknown)}")
    if (group, verb) == ("tpu-vm", "ssh"):
        return ssh(name, flags["worker"], flags["command"])
    if verb == "create":
        create(name, group == "queued-resources")
    elif verb == "delete":
        delete(name, group)
    elif flags["format"] != ("value(state.state)" if group == "queued-resources" else "value(state)"):
        print()  # a field that there is not
    else:
        print(queue_state(name) if group == "queued-resources" else node_state(name))
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "preempt":
        sys.exit(preempt(sys.argv[2]))
    sys.exit(main(sys.argv[1:]))
