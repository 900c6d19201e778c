"""A stand-in for gcloud: TPUs whose workers are processes of this machine, and a bucket that is a folder.

It understands what launch/tpu and its workers call, keeps its state in the folder STAND_IN and appends every call of
the launcher to calls.jsonl there, and those of workers to calls_of_workers.jsonl. gs://A/B is the file gs/A/B there.

Each worker of a TPU has a home folder of its own, which is deleted with the TPU. `preempt NAME`
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
WORKERS = 2  # of each slice
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
    ("queued-resources", "ssh"): (
        {"worker", "command"},
        {"node", "batch-size", "internal-ip", "ssh-flag", "ssh-key-file"},
    ),
    ("queued-resources", "create"): (
        TPU[0] | {"runtime-version"},
        TPU[1] | {"node-id", "node-count", "node-prefix"},  # the first, or the others
    ),
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


def of_node(node: str) -> str:
    """The TPU or queued resource that a node is of."""
    for path in FOLDER.glob("*.json"):
        if node in json.loads(path.read_text()).get("nodes", ()):
            return path.stem
    not_found(node)


def write(name: str, **node) -> None:
    node_file(name).write_text(json.dumps(node))


def homes(name: str) -> list[pathlib.Path]:
    node = read(name)
    return [FOLDER / name / node["disk"] / f"worker-{number}" for number in range(WORKERS * len(node["nodes"]))]


def fail_some_times(file: str, message: str) -> None:
    """As many times as the number in the file says."""
    path = FOLDER / file
    left = int(path.read_text()) if path.exists() else 0
    if left:
        path.write_text(str(left - 1))
        fail(message)


def create(name: str, queued: bool, flags: dict) -> None:
    if queued and ("node-id" in flags) == ("node-count" in flags):
        fail("Exactly one of (--node-id | --node-count --node-prefix) must be specified.")
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
            nodes=[f"{flags['node-prefix']}-{number}" for number in range(int(flags["node-count"]))]
            if "node-count" in flags
            else [name],
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


def ssh(name: str, flags: dict) -> int:
    worker, command, node = flags["worker"], flags["command"], read(name)
    if node["state"] != "READY":
        fail(f"TPU {name} is in state {node['state']}")
    if worker == "all":
        # Of queued resources gcloud takes the first node unless it is told otherwise.
        chosen = range(len(homes(name)) if flags.get("node") == "all" else WORKERS)
    else:
        first, _, last = worker.partition("-")
        chosen = range(int(first), int(last or first) + 1)
    running = {}
    for number in chosen:
        environment = os.environ | {
            "HOME": str(homes(name)[number]),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
            "JAX_COORDINATOR_ADDRESS": f"localhost:{node['port']}",
            "SLURM_JOB_ID": "1",
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": str(len(homes(name))),
            "SLURM_PROCID": str(number),
            "SLURM_LOCALID": "0",
        }
        running[number] = subprocess.Popen(["bash", "-c", command], cwd=homes(name)[number], env=environment)
    codes = {number: process.wait() for number, process in running.items()}
    for number, code in codes.items():
        if code:
            print(f"##### Command execution on worker {number} failed with exit status {code}.", file=sys.stderr)
    return next((code for code in codes.values() if code), 0)


def object_file(url: str) -> pathlib.Path:
    if not url.startswith("gs://"):
        fail(f"{url} is no object")
    return FOLDER / "gs" / url.removeprefix("gs://")


def storage(verb: str, arguments: list[str]) -> int:
    """`cat [--range=FIRST-] URL`, and `cp --quiet - URL`."""
    flags, (*source, url) = options(arguments), [text for text in arguments if text == "-" or text[0] != "-"]
    path = object_file(url)
    if verb == "cp" and source == ["-"] and flags.keys() == {"quiet"}:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_bytes(sys.stdin.buffer.read())
        temporary.replace(path)
    elif verb == "cat" and not source and flags.keys() <= {"range"}:
        fail_some_times("offline-storage", "There was a problem refreshing your current auth tokens")
        first = int(flags.get("range", "0-").removesuffix("-"))
        matches = sorted(path.parent.glob(path.name))
        if not matches:
            fail(f"The following URLs matched no objects or files:\n{url}")
        for match in matches:
            data = match.read_bytes()
            if first and first >= len(data):
                fail("HTTPError 416: The requested range cannot be satisfied.")
            sys.stdout.buffer.write(data[first:])
    else:
        fail(f"Invalid choice: {verb!r} {arguments}")
    return 0


def main(arguments: list[str]) -> int:
    by_worker = "/worker-" in os.environ.get("HOME", "")
    with (FOLDER / ("calls_of_workers.jsonl" if by_worker else "calls.jsonl")).open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    if arguments[0] == "storage":
        return storage(arguments[1], arguments[2:])
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
    if verb == "ssh":
        return ssh(name, flags)
    if verb == "create":
        create(name, group == "queued-resources", flags)
    elif verb == "delete":
        delete(name, group)
    elif (group, flags["format"]) == ("queued-resources", "value(state.state)"):
        print(queue_state(name))
    elif (group, flags["format"]) == ("tpu-vm", "value(state)"):
        print(node_state(of_node(name)))
    elif (group, flags["format"]) == ("tpu-vm", "value(networkEndpoints.len())"):
        print(WORKERS if read(of_node(name)) else 0)
    else:
        print()  # a field that there is not
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "preempt":
        sys.exit(preempt(sys.argv[2]))
    sys.exit(main(sys.argv[1:]))
