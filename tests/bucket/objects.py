"""What a bucket holds: objects with generations, changed one at a time and only where the preconditions hold."""

import base64
import dataclasses
import datetime
import hashlib
import threading

import google_crc32c

PRECONDITIONS = ("ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch")


class ApiError(Exception):
    """An answer that is no success: an HTTP status and its reason."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


@dataclasses.dataclass(frozen=True)
class Object:
    """An object of a bucket as it is at one generation."""

    bucket: str
    name: str
    data: bytes
    generation: int
    created: datetime.datetime
    content_type: str = "application/octet-stream"
    metadata: dict = dataclasses.field(default_factory=dict)
    metageneration: int = 1

    def resource(self) -> dict:
        """The object as the JSON API describes it."""
        time = self.created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "contentType": self.content_type,
            "metadata": self.metadata,
            "size": str(len(self.data)),
            "md5Hash": base64.b64encode(hashlib.md5(self.data).digest()).decode(),
            "crc32c": self.crc32c(),
            "storageClass": "STANDARD",
            "etag": f"etag-{self.generation}",
            "timeCreated": time,
            "updated": time,
        }

    def crc32c(self) -> str:
        return base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()


class Objects:
    """Buckets and their objects in memory.

    Args:
      buckets: names of those that there are.
    """

    def __init__(self, *buckets: str):
        self._lock = threading.RLock()
        self._buckets: dict[str, dict[str, Object]] = {bucket: {} for bucket in buckets}
        self._generation = 1_700_000_000_000_000

    def make_empty(self, bucket: str) -> None:
        """Makes a bucket without objects, whether there was one or not."""
        with self._lock:
            self._buckets[bucket] = {}

    def names(self, bucket: str) -> list[str]:
        """Names of the objects in order."""
        with self._lock:
            return sorted(self.of(bucket), key=str.encode)

    def of(self, bucket: str) -> dict[str, Object]:
        if bucket not in self._buckets:
            raise ApiError(404, "The specified bucket does not exist.")
        return self._buckets[bucket]

    def buckets(self) -> list[str]:
        return list(self._buckets)

    def get(self, bucket: str, name: str, conditions: dict) -> Object:
        """An object. Raises ApiError (404, 412, or 304 for a condition that asks for a change)."""
        with self._lock:
            known = self.of(bucket).get(name)
            wanted = conditions.get("generation")
            if known is None or wanted and int(wanted) != known.generation:
                raise ApiError(404, f"No such object: {bucket}/{name}")
            check(known, conditions, reading=True)
            return known

    def put(self, bucket: str, name: str, data: bytes, conditions: dict, **known) -> Object:
        """Writes an object at once. Raises ApiError (404 without the bucket, 412)."""
        with self._lock:
            objects = self.of(bucket)
            check(objects.get(name), conditions)
            self._generation += 1
            now = datetime.datetime.now(datetime.UTC)
            objects[name] = Object(bucket, name, bytes(data), self._generation, now, **known)
            return objects[name]

    def delete(self, bucket: str, name: str, conditions: dict) -> None:
        """Deletes an object. Raises ApiError (404, 412)."""
        with self._lock:
            self.get(bucket, name, {"generation": conditions.get("generation")})
            check(self.of(bucket)[name], conditions)
            del self.of(bucket)[name]

    def copy(self, source: Object, bucket: str, name: str, conditions: dict) -> Object:
        return self.put(
            bucket, name, source.data, conditions, content_type=source.content_type, metadata=source.metadata
        )

    def move(self, bucket: str, name: str, target: str, conditions: dict) -> Object:
        """Renames an object, which is atomic for a single one."""
        with self._lock:
            moved = self.copy(self.get(bucket, name, {}), bucket, target, conditions)
            del self.of(bucket)[name]
            return moved

    def change_metadata(self, bucket: str, name: str, conditions: dict, metadata: dict) -> Object:
        """Replaces what is known about an object; its data and generation stay."""
        with self._lock:
            before = self.get(bucket, name, {})
            check(before, conditions)
            after = dataclasses.replace(before, metadata=metadata, metageneration=before.metageneration + 1)
            self.of(bucket)[name] = after
            return after

    def list(self, bucket: str, query: dict) -> dict:
        """A page of objects and of prefixes up to the delimiter."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        limit = min(int(query.get("maxResults", 1000)), 1000)
        after, start, end = (query.get(key, "") for key in ("pageToken", "startOffset", "endOffset"))
        with self._lock:
            objects = dict(self.of(bucket))
        items, prefixes, last = [], [], ""
        for name in sorted(objects, key=str.encode):
            if not name.startswith(prefix) or name < start or end and name >= end:
                continue
            rest = name[len(prefix) :]
            folder = prefix + rest.split(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
            if (folder or name) <= after or folder and folder in prefixes[-1:]:
                continue
            if len(items) + len(prefixes) == limit:
                return _page(items, prefixes) | {"nextPageToken": last}
            if folder:
                prefixes.append(folder)
            else:
                items.append(objects[name].resource())
            last = folder or name
        return _page(items, prefixes)


def _page(items: list[dict], prefixes: list[str]) -> dict:
    page: dict = {"kind": "storage#objects"}
    return page | ({"items": items} if items else {}) | ({"prefixes": prefixes} if prefixes else {})


def check(known: Object | None, conditions: dict, reading: bool = False) -> None:
    """Raises ApiError (412, or 304 in reading) where a precondition does not hold; generation 0: there is none."""
    for name in PRECONDITIONS:
        if conditions.get(name) is None:
            continue
        actual = 0 if known is None else known.metageneration if "Meta" in name else known.generation
        equal = actual == int(conditions[name])
        if equal == ("Not" in name):
            status = 304 if reading and "Not" in name else 412
            raise ApiError(status, "At least one of the pre-conditions you specified did not hold.")
