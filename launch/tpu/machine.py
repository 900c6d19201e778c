"""The TPU itself: its state, its creation and its end."""

from launch.errors import LaunchError
from launch.tpu.gcloud import NOT_THERE, GcloudError, Tpu, say

# Of nodes and of queued resources. Any other state, but READY, passes by itself.
LOST = ("", "PREEMPTED", "TERMINATED", "STOPPED", "UNKNOWN", "FAILED", "SUSPENDED", "WITHOUT_NODE")
CREATE_POLLS = 10  # between two tries to create a TPU anew
SETTLE_POLLS = 4  # a preemption ends the processes a while before the TPU's state tells of it


def state(tpu: Tpu, dry: str = "READY") -> str:
    """READY, PREEMPTED and so on, of the first slice that is not ready; '' where there is no such TPU."""
    if tpu.settings.queued:
        queued = describe(tpu, "queued-resources", tpu.settings.name, "state.state", "ACTIVE" if dry else "")
        if queued != "ACTIVE":
            return queued
    # The queued resource has to be deleted before another of its name can be created.
    gone = "WITHOUT_NODE" if tpu.settings.queued else ""
    states = [describe(tpu, "tpu-vm", node, "state", dry) or gone for node in tpu.settings.nodes]
    return next((now for now in states if now != "READY"), "READY")


def describe(tpu: Tpu, kind: str, name: str, field: str, dry: str) -> str:
    """A field of the TPU; '' where there is no such TPU."""
    try:
        return tpu.gcloud(kind, "describe", name, f"--format=value({field})", dry=dry).strip()
    except GcloudError as error:
        if NOT_THERE in str(error):
            return ""
        raise


def lasting_state(tpu: Tpu, dry: str = "READY", patient: bool = False) -> str:
    """READY or one of LOST; waits while the TPU is in another state.

    Args:
      tpu: the TPU.
      dry: the state in a dry run.
      patient: also wait for gcloud's first answer.
    """
    said = ""
    while True:
        try:
            now = state(tpu, dry)
        except GcloudError as error:
            if not (patient or said):
                raise  # settings or login may be wrong; after one answer it can only be the network
            say(f"no answer from gcloud, trying on: {error}")
        else:
            if now in ("READY", *LOST):
                return now
            if now != said:
                say(f"{tpu.settings.name} is {now}")
            said = now
        tpu.wait()


def create(tpu: Tpu) -> None:
    """Creates the TPU and waits until it is ready."""
    settings = tpu.settings
    spot = ["--spot"] if settings.spot else []
    flags = [f"--accelerator-type={settings.accelerator_type}", *spot, *settings.create_flags]
    several = f"{settings.slices} x " if settings.slices > 1 else ""
    say(f"creating {settings.name}: {several}{settings.accelerator_type} in {settings.zone}")
    tpu.forget_workers()
    if settings.queued:
        nodes = [f"--node-id={settings.name}"]
        if settings.slices > 1:
            nodes = [f"--node-count={settings.slices}", f"--node-prefix={settings.name}"]
        version = f"--runtime-version={settings.runtime_version}"
        tpu.gcloud("queued-resources", "create", settings.name, *nodes, version, *flags)
    else:
        tpu.gcloud("tpu-vm", "create", settings.name, f"--version={settings.runtime_version}", *flags)
    if (now := lasting_state(tpu, patient=True)) != "READY":
        raise LaunchError(f"the new TPU {settings.name} is {now or 'gone'}")


def delete(tpu: Tpu) -> None:
    """Deletes the TPU, if there is one."""
    try:
        if tpu.settings.queued:
            tpu.gcloud("queued-resources", "delete", tpu.settings.name, "--force")
        else:
            tpu.gcloud("tpu-vm", "delete", tpu.settings.name)
    except GcloudError as error:
        if NOT_THERE not in str(error):
            raise
        say(f"there is no {tpu.settings.name}")


def make_ready(tpu: Tpu, patient: bool) -> None:
    """Waits until the TPU is ready, and creates it where it is not there or lost.

    Args:
      tpu: the TPU.
      patient: try again and again if gcloud does not answer or the TPU cannot be created.
    """
    while (now := lasting_state(tpu, dry="", patient=patient)) != "READY":
        try:
            if now:
                say(f"{tpu.settings.name} is {now}: it is deleted and created anew")
                delete(tpu)
            create(tpu)
        except LaunchError as error:
            if not patient:
                raise
            say(f"no new TPU yet, trying on: {error}")
            tpu.wait(CREATE_POLLS)
        if tpu.dry_run:
            return


def is_lost(tpu: Tpu, polls: int = 1) -> bool:
    """Whether the TPU is gone, or goes within some polls."""
    for poll in range(polls):
        if poll:
            tpu.wait()
        try:
            if state(tpu) != "READY":
                return True
        except GcloudError as error:  # no network here says nothing about the TPU
            say(f"no answer from gcloud, trying on: {error}")
    return False
