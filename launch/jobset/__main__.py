"""Prints the manifest of a JobSet for GKE: python -m launch.jobset --settings=FILE --config=CONFIG [-- FLAGS]."""

import argparse
import sys

from launch.errors import LaunchError
from launch.jobs import Job
from launch.jobset.manifest import make_manifest
from launch.jobset.settings import Settings
from launch.toml_files import read_toml


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m launch.jobset", description=__doc__)
    parser.add_argument("--settings", required=True, help="a TOML file, see launch/README.md")
    parser.add_argument("--config", required=True, help="as for ns_jax.main")
    parser.add_argument("--name", default="", help="of the workdir and of the JobSet; default: that of the config")
    parser.add_argument("flags", nargs="*", metavar="-- FLAGS", help="more for ns_jax.main")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Prints the manifest as YAML. Raises LaunchError."""
    try:
        import yaml
    except ImportError:
        raise LaunchError("PyYAML is not installed; it comes with ns_jax: pip install -e .") from None
    args = parse(argv)
    manifest = make_manifest(read_toml(args.settings, Settings), Job(args.config, args.name, args.flags))
    print(yaml.safe_dump(manifest, sort_keys=False, width=120), end="")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
