"""Files that are complete or absent: written under a temporary name and renamed; in a bucket uploaded in one step."""

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator
from typing import Any

from etils import epath

from ns_jax import buckets
from ns_jax.errors import UserError

HASHED = 1 << 22  # bytes of a file that are in memory at a time


def file_sha256(path: epath.Path) -> str:
    """SHA-256 of a file, local or in a bucket, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASHED):
            digest.update(block)
    return digest.hexdigest()


def require_space(folder: epath.Path, num_bytes: int) -> None:
    """Raises OSError (ENOSPC) unless the disk of an existing local `folder` has `num_bytes` left."""
    if not buckets.is_bucket(folder) and shutil.disk_usage(folder).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def write_bytes(path: epath.Path, data: bytes, synced: bool = True) -> None:
    """Writes `data` to `path` in one step; a reader never sees half of it. See `new_file` for `synced`."""
    if buckets.is_bucket(path):
        buckets.write(path, data)
        return
    with new_file(path, synced) as file:
        file.write(data)


@contextlib.contextmanager
def new_file(path: epath.Path, synced: bool = True) -> Iterator[Any]:
    """A binary file that appears at `path` when the block ends well; a reader never sees half of it.

    Args:
      path: of the file.
      synced: False: a power cut may leave it empty, until `sync` is called. For many files that takes less time.
    """
    if buckets.is_bucket(path):
        with buckets.new_object(path) as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: several processes may write the same file, and none must rename what another still writes.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())  # else a power cut can leave the name without the data
        temporary.replace(path)
        if synced:
            sync_folder(path.parent)
    except Exception:
        temporary.unlink(missing_ok=True)
        raise


def sync(folder: epath.Path) -> None:
    """Makes all files that were written last through a power cut; what is in a bucket does anyway."""
    if not buckets.is_bucket(folder) and hasattr(os, "sync"):
        os.sync()


def remove_leftovers(folder: epath.Path, spared: str = "") -> None:
    """Deletes what processes that were killed have left half written in a local folder and the folders in it.

    Args:
      folder: in which nothing is written meanwhile.
      spared: name of folders in which others may be writing.
    """
    if buckets.is_bucket(folder):
        return
    for path in pathlib.Path(folder).rglob("*.tmp"):
        if path.parent.name != spared:
            path.unlink(missing_ok=True)


def read_with_version(path: epath.Path) -> tuple[bytes, int]:
    """The bytes of a file, and a number that changes with them; (b"", 0) where there is none.

    In a bucket it is the object's generation, which the server counts; elsewhere a hash of the bytes.
    """
    if buckets.is_bucket(path):
        return buckets.read_with_generation(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b"", 0
    return data, _version(data)


def _version(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:7], "big") | 1


def write_if_unchanged(path: epath.Path, data: bytes, version: int) -> int | None:
    """Writes a file only if it still has a version; 0: if there is none, and then exactly one of many writers does it.

    Of several that replace the same version at the same moment, a bucket lets one do it. On a disk more than one may
    believe to have done it, and the file is the last one's: what they do then must bear being done twice.

    Args:
      path: of the file.
      data: unlike what anybody else writes there.
      version: of `read_with_version`.

    Returns:
      Its new version, None where it has changed meanwhile.
    """
    if buckets.is_bucket(path):
        return buckets.write_if_unchanged(path, data, version)
    if version:
        if read_with_version(path)[1] != version:
            return None
        write_bytes(path, data)
        return _version(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except (FileExistsError, FileNotFoundError):  # the second: the folder was deleted in this moment
        return None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return _version(data)


def delete_if_unchanged(path: epath.Path, version: int) -> None:
    """Deletes a file, unless it has changed since it had a version."""
    if buckets.is_bucket(path):
        buckets.delete_if_unchanged(path, version)
    elif read_with_version(path)[1] == version:
        path.unlink(missing_ok=True)


def sync_folder(folder: epath.Path) -> None:
    """Makes the names in a local folder last through a power cut, where the system can do that."""
    if buckets.is_bucket(folder):
        return
    with contextlib.suppress(OSError):  # not of every file system
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_file(path: epath.Path) -> bool:
    """Whether there is a regular file, or an object of a bucket: a pipe or a device may never end."""
    return path.is_file() if buckets.is_bucket(path) else os.path.isfile(path)


def check_writable(path: epath.Path) -> None:
    """Raises OSError where `write_bytes` could not write: better before a long task than after it."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    if buckets.is_bucket(path):
        _check_bucket_writable(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(b"")
    temporary.unlink()


def _check_bucket_writable(path: epath.Path) -> None:
    """As `check_writable`: an object may have a name below that of another one, and nobody would find it there."""
    for folder in path.parents:
        if len(folder.parts) > 3 and folder.is_file():  # deeper than ('/', 'gs', BUCKET)
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    temporary = path.with_name(f"{path.name}.tmp")
    buckets.write(temporary, b"")
    temporary.unlink(missing_ok=True)  # an answer that was lost makes a client ask again


def write_json(path: epath.Path, value: Any) -> None:
    """Writes `value` as indented JSON with sorted keys, in one step."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: epath.Path) -> Any:
    """The value in a JSON file. Raises UserError, with its path, for one that cannot be read."""
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or lists in lists without end
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({reason}); delete it and run again") from None


def read_json_object(path: epath.Path) -> dict[str, Any]:
    """As `read_json`, of a file that holds an object: raises UserError for any other value, too."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (it holds no object); delete it and run again")
    return value


def package_folder(module: str) -> epath.Path | None:
    """Folder of an installed package, of which no code runs; None where there is none."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return epath.Path(next(iter(spec.submodule_search_locations)))
