"""A stand-in for Google Cloud Storage on loopback: its JSON protocol, and the metadata server that gives tokens.

  with BucketServer("pictures") as server:
      os.environ.update(server.environment())

python -m tests.bucket.server BUCKET ... runs one by hand and prints the variables.

Of the packages on PyPI, gcp-storage-emulator knows no preconditions on generations, and fake-gcs-server ignores them
(a second upload with ifGenerationMatch=0 answers 200); both lack moveTo, and neither makes errors.
"""

import collections
import contextlib
import http.server
import json
import re
import secrets
import socket
import sys
import threading
import time
import urllib.parse
from typing import Any, NoReturn

from tests.bucket.faults import Faults
from tests.bucket.objects import ApiError, Object, Objects

OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)")
OBJECTS = re.compile(r"/storage/v1/b/([^/]+)/o")
UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o")
BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
COPY = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")
MOVE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/moveTo/o/([^/]+)")
COMPOSE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/compose")
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
METADATA = "/computeMetadata/v1"
ACCOUNT = "runner@stand-in.iam.gserviceaccount.com"


class Answer:
    """Status, headers and body of a response."""

    def __init__(self, body: Any = b"", status: int = 200, **headers: str):
        is_json = not isinstance(body, bytes)
        self.body = json.dumps(body).encode() if is_json else body
        self.status = status
        self.headers = {"Content-Type": "application/json; charset=UTF-8"} if is_json else {}
        self.headers |= {name.replace("_", "-"): value for name, value in headers.items()}


class BucketServer:
    """The server, which answers from the moment it is made. A context manager.

    Args:
      *buckets: names.
      needs_token: whether requests without a valid token of the metadata server are refused.

    Attributes:
      objects: what the buckets hold.
      faults: what goes wrong; replaced by a test.
      forbidden: buckets that nobody may use.
      token_lasts: seconds that the metadata server says of a new token.
      gives_tokens: whether the metadata server does.
      requests: 'METHOD PATH' to how often it was answered.
      writes_left: how many changes are made yet; then everything is refused. What a bucket holds then is what a client
        leaves that is killed after so many writes. None: no end.
      unknown: requests that this server has no answer to.
    """

    def __init__(self, *buckets: str, needs_token: bool = False, port: int = 0):
        self.objects, self.faults = Objects(*buckets), Faults()
        self.needs_token, self.gives_tokens, self.token_lasts = needs_token, True, 3600
        self.forbidden: set[str] = set()
        self.tokens: set[str] = set()
        self.uploads: dict[str, dict] = {}
        self.requests: collections.Counter = collections.Counter()
        self.unknown: list[str] = []
        self.writes_left: int | None = None
        self._counting = threading.Lock()
        handler = type("Handler", (_Handler,), {"bucket_server": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> "BucketServer":
        return self

    def __exit__(self, *exc) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """The variables by which the clients find this server: gcsfs, google-auth, tensorstore, google-cloud-cpp."""
        credentials = {"GCE_METADATA_ROOT": self.address, "GCE_METADATA_HOST": self.address}
        return credentials | {
            "GCE_METADATA_IP": self.address,
            "STORAGE_EMULATOR_HOST": f"http://{self.address}",
            "TENSORSTORE_GCS_HTTP_URL": f"http://{self.address}",
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": f"http://{self.address}",
            "GOOGLE_CLOUD_PROJECT": "stand-in",
        }

    def expire_tokens(self) -> None:
        """Makes every token invalid that was given so far."""
        self.tokens.clear()

    def answer(self, method: str, target: str, headers, body: bytes) -> Answer:
        """The answer to a request. Raises ApiError."""
        path, _, text = target.partition("?")
        query = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
        if path.startswith(METADATA) or path == "/":
            return self._metadata(path, query)
        self._check_token(headers)
        self._check_writes(method)
        if path == "/batch/storage/v1":
            return self._batch(headers, body)
        if path == "/storage/v1/b" and method == "GET":
            items = [_bucket_resource(bucket) for bucket in self.objects.buckets()]
            return Answer({"kind": "storage#buckets", "items": items})
        for pattern, handle in (
            (COPY, self._copy),
            (MOVE, self._move),
            (COMPOSE, self._compose),
            (UPLOAD, self._upload),
            (OBJECT, self._object),
            (OBJECTS, self._list),
            (BUCKET, self._bucket),
        ):
            if match := pattern.fullmatch(path):
                names = [urllib.parse.unquote(name) for name in match.groups()]
                self._check_allowed(names[0])
                return handle(method, names, query, headers, body)
        self._refuse_unknown(method, target)

    def _refuse_unknown(self, method: str, target: str) -> NoReturn:
        self.unknown.append(f"{method} {target}")
        raise ApiError(501, "the stand-in has no answer to this")

    def _metadata(self, path: str, query: dict) -> Answer:
        """What the metadata server of a virtual machine says."""
        google = {"Metadata_Flavor": "Google"}
        text = google | {"Content_Type": "application/text"}
        if path.endswith("/token"):
            if not self.gives_tokens:
                raise ApiError(404, "no service account")
            token = secrets.token_hex(8)
            self.tokens.add(token)
            return Answer({"access_token": token, "expires_in": self.token_lasts, "token_type": "Bearer"}, **google)
        if path.endswith("/project/project-id"):
            return Answer(b"stand-in", **text)
        if "/universe" in path:
            return Answer(b"googleapis.com", **text)
        if "/service-accounts/" in path and query.get("recursive"):
            scopes = ["https://www.googleapis.com/auth/cloud-platform"]
            return Answer({"email": ACCOUNT, "scopes": scopes, "aliases": ["default"]}, **google)
        return Answer(b"ok", **text)

    def _check_token(self, headers) -> None:
        # Google's own clients (ArrayRecord's reader, Orbax) send no token to an address that is set by hand.
        if not self.needs_token or headers.get("User-Agent", "").startswith(("gl-cpp", "gcloud-python")):
            return
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            raise ApiError(
                401, "Anonymous caller does not have storage.objects.get access to the Cloud Storage object."
            )
        if token not in self.tokens:
            raise ApiError(401, "Invalid Credentials")

    def _check_writes(self, method: str) -> None:
        if self.writes_left is None:
            return
        with self._counting:
            if method != "GET" and self.writes_left:
                self.writes_left -= 1
                return
            if not self.writes_left:
                raise ApiError(403, "the client is dead, and does not know it")

    def _check_allowed(self, bucket: str) -> None:
        if bucket in self.forbidden:
            raise ApiError(403, f"{ACCOUNT} does not have storage.objects.list access to the bucket {bucket}.")

    def _bucket(self, method, names, query, headers, body) -> Answer:
        self.objects.of(names[0])
        if method != "GET":
            self._refuse_unknown(method, names[0])
        return Answer(_bucket_resource(names[0]))

    def _list(self, method, names, query, headers, body) -> Answer:
        return Answer(self.objects.list(names[0], query))

    def _object(self, method, names, query, headers, body) -> Answer:
        if method == "DELETE":
            self.objects.delete(*names, query)
            return Answer(b"", 204)
        if method in ("PATCH", "PUT"):
            metadata = json.loads(body or b"{}").get("metadata", {})
            return Answer(self.objects.change_metadata(*names, query, metadata).resource())
        known = self.objects.get(*names, query)
        return _media(known, headers.get("Range")) if query.get("alt") == "media" else Answer(known.resource())

    def _copy(self, method, names, query, headers, body) -> Answer:
        self._check_allowed(names[2])
        source = self.objects.get(*names[:2], {"generation": query.get("sourceGeneration")})
        resource = self.objects.copy(source, *names[2:], query).resource()
        size = resource["size"]
        done = {"kind": "storage#rewriteResponse", "done": True, "objectSize": size, "totalBytesRewritten": size}
        return Answer(done | {"resource": resource})

    def _move(self, method, names, query, headers, body) -> Answer:
        return Answer(self.objects.move(*names, query).resource())

    def _compose(self, method, names, query, headers, body) -> Answer:
        parts = [self.objects.get(names[0], part["name"], part) for part in json.loads(body)["sourceObjects"]]
        return Answer(self.objects.put(*names, b"".join(part.data for part in parts), query).resource())

    def _upload(self, method, names, query, headers, body) -> Answer:
        kind, bucket = query.get("uploadType"), names[0]
        if "upload_id" in query:
            return self._continue_upload(method, query["upload_id"], headers, body)
        if kind == "media":
            content_type = headers.get("Content-Type") or "application/octet-stream"
            return Answer(self.objects.put(bucket, query["name"], body, query, content_type=content_type).resource())
        if kind == "multipart":
            known, data = _parts(headers["Content-Type"], body)
            name = query.get("name") or known["name"]
            return Answer(self.objects.put(bucket, name, data, query, metadata=known.get("metadata", {})).resource())
        if kind == "resumable":
            self.objects.of(bucket)
            number = secrets.token_hex(8)
            known = json.loads(body or b"{}")
            name = query.get("name") or known["name"]
            self.uploads[number] = {"bucket": bucket, "name": name, "query": query, "data": b"", "known": known}
            location = f"http://{self.address}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={number}"
            return Answer(b"", Location=location)
        self._refuse_unknown(method, f"upload of type {kind}")

    def _continue_upload(self, method: str, number: str, headers, body: bytes) -> Answer:
        """A chunk of a resumable upload, or the question how much has arrived."""
        upload = self.uploads.get(number)
        if upload is None:
            raise ApiError(404, "No such upload")
        if method == "DELETE":
            del self.uploads[number]
            return Answer(b"", 499)
        if "done" in upload:
            return Answer(upload["done"])
        match = CONTENT_RANGE.fullmatch(headers.get("Content-Range", f"bytes 0-{len(body) - 1}/{len(body)}"))
        if match is None:
            raise ApiError(400, "invalid Content-Range")
        start, _, total = match.groups()
        if start is not None and int(start) <= len(upload["data"]):
            upload["data"] = upload["data"][: int(start)] + body
        if total != "*" and len(upload["data"]) == int(total):
            stored = self.objects.put(upload["bucket"], upload["name"], upload["data"], upload["query"])
            upload["done"] = stored.resource()
            return Answer(upload["done"])
        arrived = {"Range": f"bytes=0-{len(upload['data']) - 1}"} if upload["data"] else {}
        return Answer(b"", 308, **arrived)

    def _batch(self, headers, body: bytes) -> Answer:
        """Several requests in one, as clients delete objects."""
        answers = []
        for part in re.split(rb"\r?\n--|^--", body):
            if request := re.search(rb"(DELETE|GET|PATCH) (\S+) HTTP/1.1", part):
                try:
                    answer = self.answer(request[1].decode(), request[2].decode(), headers, b"")
                except ApiError as error:
                    answer = _error(error)
                status = http.HTTPStatus(answer.status)
                head = f"--batch_0\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status.value} {status.phrase}\r\n"
                answers.append(head.encode() + b"\r\n" + answer.body + b"\r\n")
        answer = Answer(b"".join(answers) + b"--batch_0--")
        answer.headers["Content-Type"] = "multipart/mixed; boundary=batch_0"
        return answer


def _bucket_resource(name: str) -> dict:
    return {
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "location": "US",
        "storageClass": "STANDARD",
        "metageneration": "1",
    }


def _media(known: Object, asked: str | None) -> Answer:
    """The data of an object, or the range of it that was asked for."""
    facts = {
        "Content_Type": known.content_type,
        "X_Goog_Generation": str(known.generation),
        "X_Goog_Metageneration": str(known.metageneration),
        "X_Goog_Hash": f"crc32c={known.crc32c()}",
        "ETag": f"etag-{known.generation}",
        "Last_Modified": known.created.strftime("%a, %d %b %Y %H:%M:%S GMT"),
    }
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if match is None:
        return Answer(known.data, **facts)
    size = len(known.data)
    if match[1]:
        start, stop = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    else:
        start, stop = max(0, size - int(match[2])), size
    if start >= size:
        raise ApiError(416, "The requested range cannot be satisfied.")
    return Answer(known.data[start:stop], 206, Content_Range=f"bytes {start}-{stop - 1}/{size}", **facts)


def _parts(content_type: str, body: bytes) -> tuple[dict, bytes]:
    """The description and the data of a multipart upload."""
    boundary = content_type.split("boundary=")[1].strip('"').encode()
    start, _, rest = body.partition(b"--" + boundary)[2].partition(b"--" + boundary)
    description = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[1]
    data = re.split(rb"\r?\n\r?\n", rest, maxsplit=1)[1]
    end = data.rindex(b"--" + boundary)
    newline = 2 if data[end - 2 : end] == b"\r\n" else 1
    return json.loads(description), data[: end - newline]


def _error(error: ApiError) -> Answer:
    if error.status == 304:
        return Answer(b"", 304)
    reasons = {401: "authError", 403: "forbidden", 404: "notFound", 412: "conditionNotMet", 429: "rateLimitExceeded"}
    reason = reasons.get(error.status, "backendError")
    details = [{"domain": "global", "reason": reason, "message": error.message}]
    return Answer({"error": {"code": error.status, "message": error.message, "errors": details}}, error.status)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a killed client is part of the tests
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Reads a request, asks the server, lets faults happen, writes the answer."""

    protocol_version, disable_nagle_algorithm, timeout = "HTTP/1.1", True, 300
    bucket_server: BucketServer

    def do_GET(self) -> None:
        server, target = self.bucket_server, self.path
        body = self._read_body()
        is_metadata = target == "/" or target.startswith(METADATA)
        time.sleep(server.faults.slow)
        fault = None if is_metadata else server.faults.draw(f"{self.command} {target}")
        if fault == "drop":
            return self._hang_up()
        try:
            if isinstance(fault, int):
                raise ApiError(fault, "injected")
            answer = server.answer(self.command, target, self.headers, body)
        except ApiError as error:
            answer = _error(error)
        server.requests[f"{self.command} {target.partition('?')[0]}"] += 1
        if fault == "lost":
            return self._hang_up()
        self._write(answer, cut=fault == "short")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client may have gone first
            self.connection.shutdown(socket.SHUT_RDWR)

    def _write(self, answer: Answer, cut: bool) -> None:
        status = (
            "Resume Incomplete"
            if answer.status == 308
            else http.HTTPStatus(answer.status).phrase
            if answer.status != 499
            else "Client Closed Request"
        )
        head = [f"HTTP/1.1 {answer.status} {status}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.status not in (204, 304):
            head.append(f"Content-Length: {len(answer.body)}")
        body = b"" if self.command == "HEAD" or answer.status in (204, 304) else answer.body
        if cut and len(body) > 1:
            self.wfile.write("\r\n".join([*head, "", ""]).encode() + body[: len(body) // 2])
            return self._hang_up()
        self.wfile.write("\r\n".join([*head, "", ""]).encode() + body)

    def log_message(self, format, *args) -> None:
        pass


def main() -> None:
    with BucketServer(*(sys.argv[1:] or ["bucket"])) as server:
        for name, value in server.environment().items():
            print(f"export {name}={value}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
