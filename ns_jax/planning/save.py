"""Keeps compiled programs, so that a long compilation need not be repeated to look at one."""

import importlib.metadata

from etils import epath
from jax.errors import JaxRuntimeError
from jax.experimental import serialize_executable
from jax.stages import Compiled

from ns_jax.files import write_bytes, write_json


def save_compiled(compiled: Compiled, folder: epath.Path, name: str, topology: str) -> str:
    """Writes NAME.executable and, with the versions that made it, NAME.json into a folder; says so in one line.

    The bytes are those of `jax.experimental.serialize_executable`, which loads them with the same versions of jax and
    libtpu on the devices that they were compiled for (not tried: that takes the devices).
    """
    try:
        payload, _, _ = serialize_executable.serialize(compiled)
    except (ValueError, TypeError, NotImplementedError, JaxRuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        return f"not saved, as jax cannot serialise it for {topology} ({type(error).__name__}: {reason})"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.executable"
    write_bytes(path, payload)
    versions = {package: _version(package) for package in ("jax", "jaxlib", "libtpu")}
    write_json(folder / f"{name}.json", {"topology": topology, "bytes": len(payload)} | versions)
    return f"saved as {path} ({len(payload) / 1e6:.1f} MB)"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
