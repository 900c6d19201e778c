"""Shell scripts that run on the workers.

On each worker ~/ns_jax is the clone, and FOLDER has each run's log and exit code, and a lock that a run holds. What a
worker tells, it writes to the bucket, beside the run's progress.json: WORKDIR/launch/START/HOST.end, where START names
the start, and the first worker's log.
"""

import shlex

from launch.jobs import Job
from launch.tpu.gcloud import NO_RETRY
from launch.tpu.settings import Settings

FOLDER = "~/ns_jax_run"
STOP_SECONDS = 120  # from SIGTERM to SIGKILL: the run saves a checkpoint
LOG_SECONDS = 30  # between two copies of the first worker's log
LAST_LINES = 20  # of each worker's log, that are kept with how it ended
CONTAINER = "ns_jax"
# Writes its input to an object or a file.
PUT = """put() {
  case $1 in
    gs://*) gcloud storage cp --quiet - "$1" ;;
    *) mkdir -p "$(dirname "$1")" && cat > "$1.tmp" && mv "$1.tmp" "$1" ;;
  esac
}"""


def status_folder(settings: Settings, name: str, start: str) -> str:
    """Where the workers write how one start of a run ended."""
    return f"{settings.bucket.rstrip('/')}/{name}/launch/{start}"


def setup(settings: Settings, commit: str) -> str:
    """Makes a worker ready: with the image, or with a commit and its packages."""
    script = _pull(settings) if settings.image else _install(settings, commit)
    return f"{script}\n{settings.prepare}".rstrip()


def _pull(settings: Settings) -> str:
    image, host = shlex.quote(settings.image), settings.image.split("/")[0]
    login = ""
    if host.endswith(("-docker.pkg.dev", ".gcr.io")) or host == "gcr.io":  # with the worker's account
        token = "gcloud auth print-access-token"
        login = f"\n{token} | sudo docker login --username=oauth2accesstoken --password-stdin https://{host} >/dev/null"
    return f"set -e\nmkdir -p {FOLDER}{login}\nsudo docker pull --quiet {image}"


def _install(settings: Settings, commit: str) -> str:
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
    if settings.python:
        return script
    # uv, because TPU VMs come with a Python that is too old. Packages no newer than the commit, and none left of
    # another commit, so that a TPU that is created anew gets the same versions.
    return f"""{script}
export PATH=$HOME/.local/bin:$PATH
if [ "$(cat .venv/commit 2>/dev/null)" != {commit} ]; then
  command -v uv >/dev/null || python3 -m pip install --quiet --user uv
  rm -rf .venv
  uv venv --quiet --python 3.12 .venv
  uv pip install --quiet --python .venv/bin/python --exclude-newer "$(git log -1 --format=%cI)" \\
    --editable '.[tpu,gcs,demo]'
  echo {commit} > .venv/commit
fi"""


def command(settings: Settings, job: Job) -> str:
    """The command line of a job, in the clone of a worker; with an image anywhere."""
    if not settings.image:
        return shlex.join(job.command(settings.python or ".venv/bin/python", settings.bucket))
    # As root and privileged, because the TPU's devices are root's; --init, because a first process ignores SIGTERM.
    flags = ["--rm", "--init", f"--name={CONTAINER}", "--privileged", "--network=host", "--user=root"]
    if settings.bucket.startswith("/"):
        flags.append(f"--volume={settings.bucket}:{settings.bucket}")
    run = ["sudo", "docker", "run", *flags, *settings.docker_flags, settings.image]
    return shlex.join(run + job.command("python", settings.bucket))


def start(settings: Settings, job: Job, begun: str) -> str:
    """Starts a job in the background of a worker, under a lock; one that goes on is left alone.

    Args:
      settings: of the TPU.
      job: what to run.
      begun: name of this start.
    """
    # The shell around the run outlives a SIGTERM, to write down how the run ended. setsid and nohup, because the
    # end of the ssh connection must not be the end of the run.
    name, folder = job.name, shlex.quote(status_folder(settings, job.name, begun))
    return rf"""cd {FOLDER} || exit 1
if ! flock -n -s lock true && [ "$(cat name)" = {name} ] && [ ! -e {name}.exit ]; then exit 0; fi
if ! flock -w 5 -s lock true; then
  echo "error: $(cat name) goes on there: stop it first" >&2
  exit {NO_RETRY}
fi
rm -f {name}.exit stopping
[ ! -e {name}.log ] || mv {name}.log {name}.before.log
echo {name} > name
echo {begun} > start
echo {folder} > where
cat > run.sh <<\END
{PUT}
log=$PWD/{name}.log
exec 9> lock
flock -w 60 9 || exit 1
echo $$ > pid
trap : TERM
if [ -e first ]; then
  (trap exit TERM; while sleep {LOG_SECONDS} & wait $!; do put {folder}/log < "$log" 2>/dev/null; done) 9>&- &
  copying=$!
fi
{_removal(settings)}cd {"~" if settings.image else "~/ns_jax"} || exit 1
{command(settings, job)}
code=$?
cd {FOLDER} || exit 1
[ ! -e stopping ] || code=stopped
if [ -e first ]; then
  kill $copying 2>/dev/null
  wait $copying
  put {folder}/log < "$log"
fi
{{ echo "ended $(hostname) $code"; tail -n {LAST_LINES} "$log" | sed "s/^/$(hostname): /"; }} > {name}.end
for _ in 1 2 3; do put {folder}/"$(hostname)".end < {name}.end && break; sleep 5; done
echo $code > exit.new
mv exit.new {name}.exit
END
setsid nohup bash run.sh > {name}.log 2>&1 < /dev/null &
while [ ! -e {name}.exit ] && flock -n -s lock true && kill -0 $! 2>/dev/null; do sleep 0.1; done"""


def _removal(settings: Settings) -> str:
    """A line that removes a container that was left behind; '' without an image."""
    return f"sudo docker rm --force {CONTAINER} >/dev/null 2>&1\n" if settings.image else ""


def mark_first() -> str:
    """Says to the first worker that it is the first: it copies its log to the bucket."""
    return f"mkdir -p {FOLDER} && touch {FOLDER}/first"


def going_on() -> str:
    """Prints name and start of the run that goes on."""
    return f"cd {FOLDER} 2>/dev/null && ! flock -n -s lock true && cat name start || true"


def read_start(name: str) -> str:
    """Prints which start of a run the worker knows, where it knows one."""
    return f'cd {FOLDER} 2>/dev/null && [ "$(cat name 2>/dev/null)" = {name} ] && cat start || true'


def status(name: str) -> str:
    """Prints how a run does on a worker."""
    return f"""mkdir -p {FOLDER} && cd {FOLDER} || exit 1
if [ -e {name}.exit ]; then echo "status $(cat {name}.exit)"
elif flock -n -s lock true || [ "$(cat name)" != {name} ]; then echo 'status gone'
else echo 'status running'; fi"""


def stop(settings: Settings) -> str:
    """Ends the run that goes on: SIGTERM, then SIGKILL."""
    return f"""cd {FOLDER} 2>/dev/null || exit 0
if flock -n -s lock true; then exit 0; fi
touch stopping
group=-$(cat pid)
name=$(cat name)
kill -TERM -- "$group"
for _ in $(seq {STOP_SECONDS}); do flock -n -s lock true && break; sleep 1; done
kill -KILL -- "$group" 2>/dev/null
{_removal(settings)}[ ! -e "$name.exit" ] || exit 0
{PUT}
echo stopped > "$name.exit"
echo "ended $(hostname) stopped" | put "$(cat where)/$(hostname).end"
"""
