"""Files in buckets of Google Cloud Storage, gs://BUCKET/PATH: one client, gcsfs, which epath uses, too.

A bucket is no file system. Writing an object is atomic, renaming a folder is not; a folder is what the names of objects
begin with, and exists as long as there is one; an object can be written on the condition that it has not changed.
"""

import contextlib
import functools
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ns_jax.errors import UserError

# Before epath opens its first path. Listings are not kept: other hosts write, too. What fails is raised, not logged.
os.environ.setdefault("FSSPEC_GCS", '{"use_listings_cache": false}')
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
for _name in ("gcsfs", "google.auth"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

SCHEME = "gs://"
INSTALL = "pip install 'ns_jax[gcs]'"
_IN_URL = re.compile(r"\bb/([^/?\s]+)")
_IN_TEXT = re.compile(r"gs://([^/\s'\"]+)|access to the bucket ([\w.-]+)|bucket[=:] ?['\"]?([\w.-]+)")
_LOGIN = (
    "`gcloud auth application-default login` signs a person in, $GOOGLE_APPLICATION_CREDENTIALS names the key file of "
    "a service account"
)


class Object(NamedTuple):
    """An object of a bucket.

    Attributes:
      path: gs://BUCKET/PATH.
      size: bytes.
      generation: changes whenever it is written.
    """

    path: str
    size: int
    generation: int


def is_bucket(path: Any) -> bool:
    """Whether a path is an address, as gs://BUCKET/PATH, and not one of this machine's file systems."""
    return "://" in os.fspath(path)


def absolute(path: str | os.PathLike) -> str:
    """The absolute path; an address in a bucket is one. '~' is somebody's home.

    Raises:
      UserError: see `check_address`.
    """
    text = os.fspath(path)
    if is_bucket(text):
        check_address(text)
        return text
    return os.path.abspath(os.path.expanduser(text))


def check_address(path: Any) -> None:
    """Raises UserError for an address that cannot be opened here: of another kind, or the client is not installed."""
    text = os.fspath(path)
    if not is_bucket(text):
        return
    if not text.startswith(SCHEME):
        raise UserError(
            f"{text}: {text.partition('://')[0]}:// is not supported: name a folder, or a bucket as gs://BUCKET/PATH"
        )
    if not text.removeprefix(SCHEME).partition("/")[0]:
        raise UserError(f"{text} names no bucket: write gs://BUCKET/PATH")
    filesystem()


@functools.cache
def filesystem():
    """The client, the same that epath has. Raises UserError where it is not installed."""
    import fsspec

    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False  # where it was imported before
    try:
        return fsspec.filesystem("gcs", finalize_on_close=True)
    except ImportError:
        raise UserError(f"paths in buckets (gs://) need the package gcsfs: {INSTALL}") from None


def read(path: Any, start: int | None = None, stop: int | None = None, generation: int = 0) -> bytes:
    """The bytes of an object, or some of them; fewer where it ends.

    Raises:
      FileNotFoundError: there is none, or it is not of the generation that was asked for.
    """
    return filesystem().cat_file(os.fspath(path), start, stop, generation=str(generation) if generation else None)


def open_object(path: Any):
    """A binary file that reads ahead, for what is read from its beginning to its end."""
    return filesystem().open(os.fspath(path), "rb")


def write(path: Any, data: bytes) -> None:
    """Writes an object in one step."""
    filesystem().pipe_file(os.fspath(path), data)


def upload(local: str, path: Any) -> None:
    """Writes an object with the content of a local file, in one step."""
    filesystem().put_file(local, os.fspath(path))


@contextlib.contextmanager
def new_object(path: Any) -> Iterator[Any]:
    """A binary file that becomes an object when the block ends well, in one step.

    It is written on this machine first: a client's own file would become an object with whatever it holds when a block
    ends with an error.
    """
    with tempfile.NamedTemporaryFile() as file:
        yield file
        file.flush()
        upload(file.name, path)


def describe(path: Any) -> Object:
    """What is known of an object. Raises FileNotFoundError where there is none."""
    return _object(filesystem().info(os.fspath(path)))


def _object(info: dict) -> Object:
    return Object(SCHEME + info["name"], int(info["size"] or 0), int(info.get("generation") or 0))


def require_bucket(path: Any) -> None:
    """Raises UserError where the bucket of an address does not exist, or nobody here may look into it."""
    bucket = SCHEME + os.fspath(path).removeprefix(SCHEME).partition("/")[0]
    with explained(path):
        try:
            filesystem().info(bucket)
        except FileNotFoundError:
            raise UserError(f"the bucket {bucket} does not exist, or is empty: create it, or name another") from None


def find(path: Any) -> list[Object]:
    """All objects whose names begin with that of a folder, ordered by name; none where there is no such bucket."""
    try:
        infos = filesystem().find(os.fspath(path).rstrip("/") + "/", detail=True).values()
    except FileNotFoundError:
        return []
    return sorted(_object(info) for info in infos if not info["name"].endswith("/"))


def match(pattern: str) -> list[Object]:
    """The objects that a glob names, ordered by name; none where there is no such bucket."""
    try:
        infos = filesystem().glob(pattern, detail=True).values()
    except FileNotFoundError:
        return []
    return sorted(_object(info) for info in infos if info["type"] == "file" and not info["name"].endswith("/"))


def write_if_unchanged(path: Any, data: bytes, generation: int) -> int | None:
    """Writes an object only if it still has a generation; 0: if there is none.

    Args:
      path: of the object.
      data: unlike what anybody else writes there: where an answer is lost, it tells whose the object is.
      generation: that it had when it was read.

    Returns:
      Its new generation, None where it has changed meanwhile.
    """
    client = filesystem()
    bucket, _, name = os.fspath(path).removeprefix(SCHEME).partition("/")
    address = client.base.replace("/storage/v1/", "/upload/storage/v1/") + f"b/{bucket}/o"
    condition = {"uploadType": "media", "name": name, "ifGenerationMatch": str(generation)}
    try:
        return int(client.call("POST", address, data=data, json_out=True, **condition)["generation"])
    except FileExistsError:
        now, known = read_with_generation(path)
        return known if now == data else None
    except FileNotFoundError:
        if generation:
            return None
        raise


def read_with_generation(path: Any) -> tuple[bytes, int]:
    """The bytes of an object and its generation; (b'', 0) where there is none."""
    for _ in range(5):
        try:
            known = describe(path)
            return read(path, generation=known.generation), known.generation
        except FileNotFoundError:  # it may have been replaced between the two questions
            if not filesystem().exists(os.fspath(path)):
                break
    return b"", 0


def delete_if_unchanged(path: Any, generation: int) -> None:
    """Deletes an object, unless it has changed since it had a generation."""
    bucket, _, name = os.fspath(path).removeprefix(SCHEME).partition("/")
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        filesystem().call("DELETE", "b/{}/o/{}", bucket, name, ifGenerationMatch=str(generation))


class _Failures:
    """The first read of an image that failed for another reason than the image itself.

    TensorFlow's pipelines skip what raises when they look for broken images. An image that could not be fetched is
    not broken.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._first: UserError | None = None

    def note(self, error: UserError) -> None:
        with self._lock:
            self._first = self._first or error

    def take(self) -> UserError | None:
        """The first one since the last call; None where there was none."""
        with self._lock:
            first, self._first = self._first, None
        return first


failures = _Failures()


def read_image(path: bytes | np.ndarray) -> bytes:
    """The bytes of an image, for a TensorFlow graph. What fails is noted in `failures`, too.

    Args:
      path: of the object; outside of graphs TensorFlow gives an array of one.

    Raises:
      UserError: it is gone, or cannot be fetched.
    """
    name = os.fsdecode(path if isinstance(path, bytes) else path.item())
    try:
        return read(name)
    except FileNotFoundError:
        problem = UserError(f"{name} is gone: put it back, or start a run of its own without it")
    except Exception as error:
        reason = explain(error, name) or f"it cannot be fetched ({_shortened(' '.join(str(error).split()))})"
        problem = UserError(f"{name}: {reason}")
    failures.note(problem)
    raise problem from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def explain(error: BaseException, path: Any = "") -> UserError | None:
    """The line for what a user can mend about buckets; None for any other error.

    Args:
      error: of gcsfs, of TensorStore, of Google's libraries, or one that such an error has caused.
      path: that was opened, for errors that do not say it.
    """
    for cause in _causes(error):
        if isinstance(cause, UserError):
            return cause
        text = " ".join(str(cause).split())
        if reason := _reason(cause, text):
            bucket = _bucket_of(text, path)
            where = f"the bucket {bucket}" if bucket else "the bucket"
            return UserError(reason.format(where=where))
    return None


@contextlib.contextmanager
def explained(path: Any, source: str = "") -> Iterator[None]:
    """Raises what a user can mend about buckets as a UserError, and any other error as it is.

    Args:
      path: that is opened in the block.
      source: of data that names it, for the line; '' for none.
    """
    try:
        yield
    except Exception as error:
        if line := explain(error, path):
            raise UserError(f"{source}: {line}" if source else str(line)) from None
        raise


def _bucket_of(text: str, path: Any) -> str:
    if is_bucket(path):
        return SCHEME + os.fspath(path).removeprefix(SCHEME).partition("/")[0]
    match = _IN_URL.search(text) or _IN_TEXT.search(text)
    return SCHEME + next(group for group in match.groups() if group) if match else ""


def _reason(error: BaseException, text: str) -> str:
    """What to say of one error, with {where} for the bucket; '' where it is none of a bucket."""
    module, code = type(error).__module__, getattr(error, "code", None)
    is_client = module.startswith(("gcsfs", "google.", "aiohttp", "requests"))
    is_of_bucket = is_client or "gs://" in text or "storage/v1" in text  # TensorStore's say the path or the address
    if "gcsfs" in text and isinstance(error, ImportError):
        return f"paths in buckets (gs://) need the package gcsfs: {INSTALL}"
    if module.startswith("google.auth") or is_of_bucket and _is_status(error, text, 401, "UNAUTHENTICATED"):
        if "Anonymous caller" in text or "DefaultCredentials" in type(error).__name__:
            return f"{{where}} cannot be opened without credentials: {_LOGIN}"
        return f"the credentials for {{where}} have expired or were refused: renew them and start again ({_LOGIN})"
    if text.startswith("Forbidden: ") or is_of_bucket and _is_status(error, text, 403, "PERMISSION_DENIED"):
        said = re.search(r"\S+ does not have (\S+) access", text)
        lacks = f" ({said[0]})" if said else ""
        return (
            f"no permission for {{where}}{lacks}: ask its owner for the roles Storage Object Admin and Storage Legacy "
            "Bucket Reader, or name another"
        )
    if "bucket does not exist" in text or isinstance(error, FileNotFoundError) and "/upload/storage/" in text:
        return "{where} does not exist: create it, or name another"
    transient = code in (408, 429, 500, 502, 503, 504) or re.search(r"\b(UNAVAILABLE|RESOURCE_EXHAUSTED)\b", text)
    if is_of_bucket and (transient or module.startswith(("aiohttp", "requests"))):
        return (
            f"{{where}} did not answer, after several attempts ({type(error).__name__}: {_shortened(text)}): start "
            "again when it does; what is complete is kept, and a run continues there"
        )
    return ""


def _is_status(error: BaseException, text: str, code: int, name: str) -> bool:
    return getattr(error, "code", None) in (code, str(code)) or bool(re.search(rf"\b{name}\b", text))


def _shortened(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."
