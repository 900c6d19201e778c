"""config.json of a run: the resolved config, from which the run can be repeated, and where its models are.

format_version   2
ns_jax           version that wrote the file
iterations       names in order; [''] without a chain
results          {name of an iteration: folder of the model that it ends with, below the workdir}
config           every field, nested
"""

from typing import Any

from etils import epath
from ml_collections import ConfigDict

from ns_jax.errors import UserError
from ns_jax.experiment.chain import iterations
from ns_jax.experiment.fields import FIELDS, Unset, defaults, unknown_field, value_of
from ns_jax.files import read_json, write_json
from ns_jax.version import VERSION

FORMAT_VERSION = 2  # version 1 has no 'format_version'


def save_config(path: epath.Path, config: ConfigDict) -> None:
    """Writes config.json; `only_stages` is of one command, and left out."""
    values = config.to_dict()
    values["only_stages"] = ()
    resolved = iterations(config)
    results = {
        name: f"{name}/{'finetune/' if iteration.finetune.epochs else ''}model".removeprefix("/")
        for name, iteration in resolved
    }
    saved = {
        "format_version": FORMAT_VERSION,
        "ns_jax": VERSION,
        "iterations": [name for name, _ in resolved],
        "results": results,
        "config": values,
    }
    write_json(path, saved)


def read_saved(path: epath.Path) -> dict[str, Any]:
    """Returns the content of a config.json with its parts checked.

    Raises:
      UserError: it is missing or damaged, or of another version.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    saved = read_json(path)
    if not isinstance(saved, dict):
        raise UserError(f"{path} is damaged (it holds no dictionary): choose another --workdir")
    if "format_version" not in saved:
        raise UserError(
            f"{path} belongs to a run of version 0.1: its models open with ns_jax.load; to train, choose another "
            "--workdir"
        )
    if saved["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path} has format_version {saved['format_version']!r} (of ns_jax {saved.get('ns_jax')}), and this "
            f"version {VERSION} reads {FORMAT_VERSION}: install the one that wrote it"
        )
    if not isinstance(saved.get("config"), dict):
        raise UserError(f"{path} is damaged (it holds no config): choose another --workdir")
    return saved


def load_config(path: epath.PathLike) -> ConfigDict:
    """Returns the config in a config.json, locked, as `configs/` give it. Fields that are new since have defaults.

    Raises:
      UserError: it is missing or damaged, or of another version; or it has a field that does not exist.
    """
    path = epath.Path(path)
    values = read_saved(path)["config"]
    config = defaults()
    for part in ("chain", "evaluations"):
        entries = values.pop(part, {})
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise UserError(f"{path} is damaged ({part} is no dictionary of dictionaries): choose another --workdir")
        config[part] = ConfigDict(_with_tuples(entries))
    for field, value in _leaves(values).items():
        if field not in FIELDS:
            raise UserError(f"{path}: {unknown_field(field)}")
        if value is None and not isinstance(FIELDS[field].default, Unset):
            raise UserError(f"{path} is damaged ({field} is null): choose another --workdir")
        section, _, leaf = field.rpartition(".")
        holder = value_of(config, section) if section else config
        try:
            holder[leaf] = tuple(value) if isinstance(value, list) else value
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged ({' '.join(str(error).split())}): choose another --workdir") from None
    return config.lock()


def _with_tuples(value: Any) -> Any:
    """Returns nested dictionaries with tuples for lists, which JSON makes of tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _leaves(values: dict, prefix: str = "") -> dict[str, Any]:
    """Returns {'noise.teacher': value, ...} of nested dictionaries."""
    leaves = {}
    for key, value in values.items():
        if isinstance(value, dict):
            leaves.update(_leaves(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
