"""Runs experiments on a Cloud TPU, through preemptions: python -m launch.tpu COMMAND --settings=FILE.

  create   create the TPU of the settings and wait until it is ready
  setup    install the same git commit on every worker
  run      create, setup, start one experiment, follow its log; again after every preemption
  chain    the runs of a recipe, one after the other
  follow   print the log of a run that goes on
  stop     end the run that goes on
  delete   delete the TPU

With --dry_run every command is printed and none is run. launch/README.md tells the whole story.
"""

import argparse
import re
import shlex
import subprocess
import sys
import time

from launch.settings import Job, LaunchError, Settings, read_jobs, read_toml

# Of nodes and of queued resources. Any other state, but READY, passes by itself.
LOST = ("", "PREEMPTED", "TERMINATED", "STOPPED", "UNKNOWN", "FAILED", "SUSPENDED", "WITHOUT_NODE")
NOT_THERE = "NOT_FOUND"  # in what gcloud says of a TPU that does not exist
NO_RETRY = 3  # exit code of our scripts for what no second try can mend
SETTLE_POLLS = 4  # a preemption ends the processes a while before the TPU's state tells of it
CREATE_POLLS = 10  # between two tries to create a TPU anew
RESTARTS = 3  # tries to start a run on a TPU that is ready; the first start has a single try
STOP_SECONDS = 120  # from SIGTERM to SIGKILL: the run saves a checkpoint
TERMINATED_FROM_OUTSIDE = ("gone", "143")  # 143: by SIGTERM, which `stop` would have noted
FOLDER = "~/ns_jax_run"  # on each worker: logs, exit codes, and the lock that a run holds


class GcloudError(LaunchError):
    """A gcloud command failed. `code` is its exit code: of the remote command, or 255 without a connection."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def local_commit(wanted: str) -> str:
    """The full hash of a commit; of HEAD without `wanted`.

    Raises:
      LaunchError: changes are not committed, or there is no such commit.
    """

    def git(*arguments):
        try:
            return subprocess.run(["git", *arguments], capture_output=True, text=True)
        except FileNotFoundError:
            raise LaunchError("git is not installed") from None

    if not wanted and (changes := git("status", "--porcelain", "--untracked-files=no").stdout.strip()):
        raise LaunchError(
            f"changes are not committed ({len(changes.splitlines())} files), so the workers would not "
            "run them: commit and push, or name a --commit"
        )
    commit = git("rev-parse", "--verify", "--quiet", f"{wanted or 'HEAD'}^{{commit}}").stdout.strip()
    if not commit and not wanted:
        raise LaunchError("this folder is not a git clone: name a --commit")
    # The repository may have a commit that this clone lacks; a branch of it would not be the same one on every worker.
    if not commit and not re.fullmatch(r"[0-9a-f]{40}", wanted):
        raise LaunchError(f"there is no commit {wanted!r} here: name it by its full hash, or fetch it")
    return commit or wanted


def say(text: str) -> None:
    print(f"launch: {text}", flush=True)


class Tpu:
    """The TPU of the settings, through gcloud."""

    def __init__(self, settings: Settings, dry_run: bool = False):
        self.settings, self.dry_run = settings, dry_run

    def gcloud(self, *arguments: str, dry: str = "") -> str:
        """Runs `gcloud compute tpus ...` and returns its output. A dry run prints it and returns `dry`."""
        where = [f"--project={self.settings.project}", f"--zone={self.settings.zone}", "--quiet"]
        command = ["gcloud", "compute", "tpus", *arguments, *where]
        if self.dry_run:
            print(shlex.join(command), flush=True)
            return dry
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise LaunchError("gcloud is not installed: https://cloud.google.com/sdk/docs/install") from None
        if done.returncode:
            raise GcloudError(done.stderr.strip() or f"gcloud ended with {done.returncode}", done.returncode)
        return done.stdout

    def ssh(self, script: str, worker: str = "all", dry: str = "") -> str:
        """Runs a shell script on workers and returns what they print."""
        try:
            return self.gcloud(
                "tpu-vm",
                "ssh",
                self.settings.name,
                f"--worker={worker}",
                f"--command={script}",
                *self.settings.ssh_flags,
                dry=dry,
            )
        except GcloudError as error:
            ours = [line for line in str(error).splitlines() if line.startswith("error: ")]
            if error.code == NO_RETRY and ours:  # the same from every worker, among gcloud's own lines
                raise GcloudError(ours[0].removeprefix("error: "), error.code) from None
            raise

    def wait(self, polls: int = 1) -> None:
        if not self.dry_run:
            time.sleep(polls * self.settings.poll_seconds)


def state(tpu: Tpu, dry: str = "READY") -> str:
    """READY, PREEMPTED and so on; '' where there is no such TPU."""
    if not tpu.settings.queued:
        return describe(tpu, "tpu-vm", "state", dry)
    queued = describe(tpu, "queued-resources", "state.state", "ACTIVE" if dry else "")
    if queued != "ACTIVE":
        return queued
    # The queued resource has to be deleted before another of its name can be created.
    return describe(tpu, "tpu-vm", "state", dry) or "WITHOUT_NODE"


def describe(tpu: Tpu, kind: str, field: str, dry: str) -> str:
    """A field of the TPU; '' where there is no such TPU."""
    try:
        return tpu.gcloud(kind, "describe", tpu.settings.name, f"--format=value({field})", dry=dry).strip()
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
    say(f"creating {settings.name}: {settings.accelerator_type} in {settings.zone}")
    if settings.queued:
        tpu.gcloud(
            "queued-resources",
            "create",
            settings.name,
            f"--node-id={settings.name}",
            f"--runtime-version={settings.runtime_version}",
            *flags,
        )
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


def setup(tpu: Tpu, commit: str) -> None:
    """Installs a commit on every worker; quick where it is installed."""
    say(f"commit {commit} on every worker")
    tpu.ssh(setup_script(tpu.settings, commit))


def setup_script(settings: Settings, commit: str) -> str:
    """Shell script that installs a commit on a worker."""
    repository, commit = shlex.quote(settings.repository), shlex.quote(commit)
    script = f"""set -e
mkdir -p {FOLDER}
if ! flock -n -s {FOLDER}/lock true && [ "$(git -C ~/ns_jax rev-parse HEAD)" != {commit} ]; then
  echo 'error: a run of another commit goes on: stop it first' >&2
  exit {NO_RETRY}
fi
[ -d ~/ns_jax/.git ] || git clone --quiet {repository} ~/ns_jax
cd ~/ns_jax
git remote set-url origin {repository}
git cat-file -e {commit}'^{{commit}}' 2>/dev/null || git fetch --quiet origin
if ! git cat-file -e {commit}'^{{commit}}' 2>/dev/null; then
  echo error: {repository} has no commit {commit}: push it >&2
  exit {NO_RETRY}
fi
git checkout --quiet --force --detach {commit}"""
    if not settings.python:
        # uv, because TPU VMs come with a Python that is too old. Packages no newer than the commit, and none left of
        # another commit, so that a TPU that is created anew gets the same versions.
        script += f"""
export PATH=$HOME/.local/bin:$PATH
if [ "$(cat .venv/commit 2>/dev/null)" != {commit} ]; then
  command -v uv >/dev/null || python3 -m pip install --quiet --user uv
  rm -rf .venv
  uv venv --quiet --python 3.12 .venv
  uv pip install --quiet --python .venv/bin/python --exclude-newer "$(git log -1 --format=%cI)" \\
    --editable '.[tpu,demo]'
  echo {commit} > .venv/commit
fi"""
    return f"{script}\n{settings.prepare}".rstrip()


def start(tpu: Tpu, job: Job) -> None:
    """Starts a run in the background of every worker; one that goes on is left alone."""
    say(f"starting {job.name}")
    tpu.ssh(start_script(job.name, job.command(tpu.settings)))


def start_script(name: str, command: str) -> str:
    """Shell script that starts a command in the background of a worker, under a lock."""
    # The shell around the run outlives a SIGTERM, to write down how the run ended. setsid and nohup, because the
    # end of the ssh connection must not be the end of the run.
    return rf"""cd {FOLDER} || exit 1
if ! flock -n -s lock true && [ "$(cat name)" = {name} ] && [ ! -e {name}.exit ]; then exit 0; fi
if ! flock -w 5 -s lock true; then
  echo "error: $(cat name) goes on there: stop it first" >&2
  exit {NO_RETRY}
fi
rm -f {name}.exit stopping
[ ! -e {name}.log ] || mv {name}.log {name}.before.log
echo {name} > name
cat > run.sh <<\END
exec 9> lock
flock -w 60 9 || exit 1
echo $$ > pid
trap : TERM
cd ~/ns_jax
{command}
code=$?
cd {FOLDER}
[ ! -e stopping ] || code=stopped
echo $code > exit.new
mv exit.new {name}.exit
END
setsid nohup bash run.sh > {name}.log 2>&1 < /dev/null &
while [ ! -e {name}.exit ] && flock -n -s lock true && kill -0 $! 2>/dev/null; do sleep 0.1; done"""


def status_script(name: str) -> str:
    """Shell script that prints how a run does on a worker."""
    return f"""mkdir -p {FOLDER} && cd {FOLDER} || exit 1
if [ -e {name}.exit ]; then echo "status $(cat {name}.exit)"
elif flock -n -s lock true || [ "$(cat name)" != {name} ]; then echo 'status gone'
else echo 'status running'; fi"""


def statuses(tpu: Tpu, name: str) -> list[str]:
    """Status of each worker: running, gone (ended without a word, or never started), stopped, unknown, or exit code."""
    lines = tpu.ssh(status_script(name), dry="status 0").splitlines()
    # Nothing was written of a run that ended on a full disk.
    return [line.removeprefix("status ").strip() or "unknown" for line in lines if line.startswith("status ")]


def verdict(workers: list[str]) -> str:
    """What the workers' statuses say of the run: running, done, stopped, interrupted or failed."""
    if "stopped" in workers:
        return "stopped"
    if any(status in TERMINATED_FROM_OUTSIDE for status in workers):
        return "interrupted"
    if any(status not in ("running", "0") for status in workers):
        return "failed"
    return "running" if "running" in workers or not workers else "done"


def print_log(tpu: Tpu, name: str, shown: int) -> int:
    """Prints the lines of the first worker's log after the first `shown`; returns how many are shown now."""
    log = f"{FOLDER}/{name}.log"
    text = tpu.ssh(f"[ ! -e {log} ] || tail -n +{shown + 1} {log}", worker="0")
    whole = text[: text.rfind("\n") + 1]  # a line that is being written comes with the next look
    print(whole, end="", flush=True)
    return shown + whole.count("\n")


def follow(tpu: Tpu, name: str) -> str:
    """Prints a run's log until the run has ended; returns how (see `verdict`)."""
    shown = 0
    while True:
        try:
            how = verdict(statuses(tpu, name))
            shown = print_log(tpu, name, shown)
        except GcloudError as error:
            if is_lost(tpu):
                return "interrupted"
            say(f"no answer from the workers, trying on: {error}")
            how = "running"
        if how == "failed" and is_lost(tpu, SETTLE_POLLS):
            how = "interrupted"
        if how != "running":
            return how
        tpu.wait()


def stop(tpu: Tpu) -> None:
    """Ends the run that goes on: SIGTERM, then SIGKILL."""
    tpu.ssh(f"""cd {FOLDER} 2>/dev/null || exit 0
if flock -n -s lock true; then exit 0; fi
touch stopping
kill -TERM -- -$(cat pid)
for second in $(seq {STOP_SECONDS}); do flock -n -s lock true && break; sleep 1; done
kill -KILL -- -$(cat pid) 2>/dev/null
echo stopped > $(cat name).exit""")


def report_failure(tpu: Tpu, name: str) -> None:
    """Ends the run where it hangs without the others, and prints the last lines of each worker's log."""
    stop(tpu)
    print(tpu.ssh(f'tail -n 20 {FOLDER}/{name}.log | sed "s/^/$(hostname): /"'), flush=True)
    raise LaunchError(f"{name} failed; its log is {FOLDER}/{name}.log on each worker")


def run(tpu: Tpu, job: Job, commit: str) -> None:
    """Creates, sets up and starts what is not there, and follows the run; again after every interruption."""
    again, failures = False, 0
    while True:
        make_ready(tpu, patient=again)
        try:
            if again and verdict(statuses(tpu, job.name)) != "running":
                stop(tpu)  # workers that still wait for the one that was interrupted
            setup(tpu, commit)
            start(tpu, job)
            failures = 0
            how = follow(tpu, job.name)
            if how == "interrupted":
                is_lost(tpu, SETTLE_POLLS)  # returns as soon as the preemption, if it was one, shows
        except GcloudError as error:
            if error.code == NO_RETRY:
                raise
            how = "interrupted"
            if not is_lost(tpu, SETTLE_POLLS):
                failures += 1
                if not again or failures == RESTARTS:
                    raise
                say(f"{job.name} could not be started, trying on: {error}")
        if how == "failed":
            report_failure(tpu, job.name)
        if how == "stopped":
            raise LaunchError(f"{job.name} was stopped")
        if how == "done":
            if not tpu.dry_run:
                say(f"{job.name} is done: {tpu.settings.bucket.rstrip('/')}/{job.name}")
            return
        say(f"{job.name} was interrupted; it continues from its last checkpoint")
        again = True


def chain(tpu: Tpu, jobs: list[Job], commit: str) -> None:
    """Runs the jobs in order; where one of them already goes on, from that job."""
    going = going_on(tpu)
    first = next((number for number, job in enumerate(jobs) if job.name == going), 0)
    for job in jobs[first:]:
        run(tpu, job, commit)


def going_on(tpu: Tpu) -> str:
    """The name of the run that goes on; '' without one."""
    if state(tpu, dry="") != "READY":
        return ""
    names = tpu.ssh(f"cd {FOLDER} 2>/dev/null && ! flock -n -s lock true && cat name || true").split()
    return names[0] if names else ""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m launch.tpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in ("create", "setup", "run", "chain", "follow", "stop", "delete"):
        command = commands.add_parser(name)
        command.add_argument("--settings", required=True, help="a TOML file, see launch/README.md")
        command.add_argument("--dry_run", action="store_true", help="print every command, run none")
        if name in ("setup", "run", "chain"):
            command.add_argument("--commit", default="", help="what the workers run; default: HEAD of this clone")
        if name in ("run", "follow"):
            command.add_argument("--config", required=True, help="as for ns_jax.main")
            command.add_argument("--name", default="", help="of the workdir; default: that of the config")
        if name == "run":
            command.add_argument("flags", nargs="*", metavar="-- FLAGS", help="more for ns_jax.main")
        if name == "chain":
            command.add_argument("--recipe", required=True, help="a TOML file, such as launch/l2.toml")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Runs one command. Raises LaunchError."""
    args = parse(argv)
    tpu = Tpu(read_toml(args.settings, Settings), args.dry_run)
    if args.command in ("create", "delete", "stop"):
        {"create": create, "delete": delete, "stop": stop}[args.command](tpu)
    elif args.command == "setup":
        setup(tpu, local_commit(args.commit))
    elif args.command == "run":
        run(tpu, Job(args.config, args.name, args.flags), local_commit(args.commit))
    elif args.command == "chain":
        chain(tpu, read_jobs(args.recipe), local_commit(args.commit))
    elif args.command == "follow":
        job = Job(args.config, args.name)
        if (how := follow(tpu, job.name)) != "done":
            raise LaunchError(f"{job.name} does not go on: {how}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "\nlaunch: what was started goes on: the same command follows a run, `stop` ends it; the TPU costs until "
            "`delete`",
            file=sys.stderr,
        )
        sys.exit(130)
