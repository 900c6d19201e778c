"""Runs experiments on a Cloud TPU, through preemptions: python -m launch.tpu COMMAND --settings=FILE.

  create   create the TPU of the settings and wait until it is ready
  setup    install the same git commit, or the image, on every worker
  run      create, setup, start one experiment, follow its log; again after every preemption
  chain    the runs of a recipe, one after the other
  follow   print the log of a run that goes on
  stop     end the run that goes on
  delete   delete the TPU

With --dry_run every command is printed and none is run. launch/README.md tells the whole story.
"""

import argparse
import sys

from launch.errors import LaunchError
from launch.jobs import Job, read_jobs
from launch.toml_files import read_toml
from launch.tpu import machine, run
from launch.tpu.commit import local_commit
from launch.tpu.gcloud import Tpu
from launch.tpu.settings import Settings


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


def commit_of(args: argparse.Namespace, settings: Settings) -> str:
    """The commit that workers check out; '' with an image. Raises LaunchError."""
    if not settings.image:
        return local_commit(args.commit)
    if args.commit:
        raise LaunchError("--commit is of workers that clone a repository; the settings name an image")
    return ""


def main(argv: list[str]) -> None:
    """Runs one command. Raises LaunchError."""
    args = parse(argv)
    settings = read_toml(args.settings, Settings)
    tpu = Tpu(settings, args.dry_run)
    if args.command == "create":
        machine.create(tpu)
    elif args.command == "delete":
        machine.delete(tpu)
    elif args.command == "stop":
        run.stop(tpu)
    elif args.command == "setup":
        run.setup(tpu, commit_of(args, settings))
    elif args.command == "follow":
        run.follow_again(tpu, Job(args.config, args.name))
    else:
        commit = commit_of(args, settings)
        jobs = read_jobs(args.recipe) if args.command == "chain" else [Job(args.config, args.name, args.flags)]
        with run.deleted_at_end(tpu):
            if args.command == "chain":
                run.chain(tpu, jobs, commit)
            else:
                run.run(tpu, jobs[0], commit)


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
