"""The stand-in against what Google documents, asked without any of the clients."""

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.bucket.faults import Faults
from tests.bucket.server import BucketServer


@pytest.fixture(scope="module")
def plain():
    with BucketServer("pictures") as server:
        yield server


def ask(server, method: str, path: str, data: bytes | None = None, **headers):
    """(status, headers, body) of a request."""
    request = urllib.request.Request(f"http://{server.address}{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def put(server, name: str, data: bytes, **query):
    query = urllib.parse.urlencode({"uploadType": "media", "name": name, **query})
    return ask(server, "POST", f"/upload/storage/v1/b/pictures/o?{query}", data)


def test_an_object_is_made_once_only_where_that_is_asked_for(plain):
    status, _, body = put(plain, "lock", b"mine", ifGenerationMatch=0)
    assert status == 200
    generation = json.loads(body)["generation"]
    assert put(plain, "lock", b"yours", ifGenerationMatch=0)[0] == 412
    assert put(plain, "lock", b"yours", ifGenerationMatch=int(generation) + 1)[0] == 412
    assert ask(plain, "GET", "/storage/v1/b/pictures/o/lock?alt=media")[2] == b"mine"
    assert put(plain, "lock", b"again", ifGenerationMatch=generation)[0] == 200
    assert ask(plain, "DELETE", f"/storage/v1/b/pictures/o/lock?ifGenerationMatch={generation}")[0] == 412
    assert ask(plain, "GET", f"/storage/v1/b/pictures/o/lock?alt=media&generation={generation}")[0] == 404


@pytest.mark.parametrize(
    "asked, status, expected",
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-12", 416, None),
    ],
)
def test_ranges(plain, asked, status, expected):
    put(plain, "digits", b"0123456789")
    got, headers, body = ask(plain, "GET", "/storage/v1/b/pictures/o/digits?alt=media", Range=asked)
    assert got == status
    if expected is not None:
        assert body == expected and headers["Content-Range"].endswith("/10")


def test_listing_by_pages_and_folders():
    with BucketServer("pictures") as server:
        names = ["a/1", "a/2", "a/b/3", "c", "d/4"]
        for name in names:
            put(server, name, b"x")
        items, prefixes, token = [], [], ""
        while token is not None:
            query = f"delimiter=/&maxResults=1&pageToken={urllib.parse.quote(token)}"
            page = json.loads(ask(server, "GET", f"/storage/v1/b/pictures/o?{query}")[2])
            items += [item["name"] for item in page.get("items", [])]
            prefixes += page.get("prefixes", [])
            token = page.get("nextPageToken")
        assert (items, prefixes) == (["c"], ["a/", "d/"])
        page = json.loads(ask(server, "GET", "/storage/v1/b/pictures/o?prefix=a/")[2])
        assert [item["name"] for item in page["items"]] == names[:3]
        assert ask(server, "GET", "/storage/v1/b/other/o")[0] == 404


def test_a_resumable_upload_goes_on_where_it_was(plain):
    start = "/upload/storage/v1/b/pictures/o?uploadType=resumable&name=large"
    status, headers, _ = ask(plain, "POST", start, b"{}")
    session = headers["Location"].removeprefix(f"http://{plain.address}")
    status, headers, _ = ask(plain, "PUT", session, b"0123", **{"Content-Range": "bytes 0-3/*"})
    assert status == 308 and headers["Range"] == "bytes=0-3"
    assert ask(plain, "GET", "/storage/v1/b/pictures/o/large")[0] == 404
    status, headers, _ = ask(plain, "PUT", session, b"", **{"Content-Range": "bytes */*"})
    assert status == 308 and headers["Range"] == "bytes=0-3"
    assert ask(plain, "PUT", session, b"45", **{"Content-Range": "bytes 4-5/6"})[0] == 200
    assert ask(plain, "GET", "/storage/v1/b/pictures/o/large?alt=media")[2] == b"012345"


def test_faults_happen_as_often_as_told():
    faults = Faults({503: 0.3, "drop": 0.3}, in_row=2)
    drawn = [faults.draw("the same") for _ in range(2000)]
    rows = "".join("." if kind is None else "x" for kind in drawn)
    assert "xxx" not in rows and 800 < rows.count("x") < 1200
    assert {kind for kind in drawn if kind is not None} == {503, "drop"}
