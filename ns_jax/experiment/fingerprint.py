"""Hashes of what a config decides."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ns_jax.experiment.chain import iterations
from ns_jax.experiment.fields import FIELDS, LOCKSTEP, Unset


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns {'data.labeled': value, ...} of all fields of a config, with values as JSON knows them."""
    from flax.traverse_util import flatten_dict

    flat = flatten_dict(config.to_dict(), sep=".")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in flat.items()}


def affects(field: str) -> str:
    """Returns what a field affects, as `Field.affects`. Evaluations change no model."""
    return LOCKSTEP if field.startswith("evaluations.") else FIELDS[field].affects


def deciding_fields(iteration: ConfigDict) -> dict[str, Any]:
    """Returns those of `flatten` that decide the result of an iteration."""
    return {key: value for key, value in flatten(iteration).items() if not affects(key)}


def fingerprint(config: ConfigDict) -> str:
    """Returns the SHA-256 of everything in the config that decides the result and is not the default.

    So a run that was begun before a field was added is still its config's.
    """
    return _digest([[name, _changed_fields(iteration)] for name, iteration in iterations(config)])


def full_fingerprint(config: ConfigDict) -> str:
    """As `fingerprint`, of defaults too: what models of early runs of version 0.2 say."""
    return _digest([[name, deciding_fields(iteration)] for name, iteration in iterations(config)])


def made_by(recorded: Mapping[str, Any], key: str, fingerprints: tuple[str, ...]) -> bool:
    """Whether something was made by a config with one of `fingerprints`: what it says of its own, under `key`.

    What says nothing is of version 0.1, and counts as made by any.
    """
    return recorded.get(key) in (None, *fingerprints)


def _changed_fields(iteration: ConfigDict) -> dict[str, Any]:
    """Returns those of `deciding_fields` that are not the default; whole numbers as floats, which equal them."""
    changed = {}
    for key, value in deciding_fields(iteration).items():
        default = FIELDS[key].default
        default = None if isinstance(default, Unset) else default
        if value != (list(default) if isinstance(default, tuple) else default):
            changed[key] = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return changed


def lockstep_fingerprint(config: ConfigDict) -> str:
    """Returns the SHA-256 of what all processes must have alike: `fingerprint`, and the fields marked LOCKSTEP."""
    waits = [
        {key: value for key, value in flatten(iteration).items() if affects(key) == LOCKSTEP}
        for _, iteration in iterations(config)
    ]
    return _digest([fingerprint(config), waits])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
