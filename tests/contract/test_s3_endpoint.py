"""A directory, rclone's S3 and moto's S3 as one bucket: the same behaviour from each, and what only an endpoint has."""

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from local_mode import s3_endpoint
from local_mode.buckets import Endpoint
from local_mode.inputs.listing import ListingRefused, under_prefix
from local_mode.object_store import CHUNK, FolderStore, InputRefused, ObjectStore, ObjectVanished, S3Object
from local_mode.s3_endpoint import EndpointStore
from tests.s3_server import KEYS, REGION, Served
from training_job.errors import MachineCannot

_SIDE_BY_SIDE = ("train", "train.csv", "train-01/b", "train0", "trainer/c/d", "tra", "other/train/x")
_ODD_KEYS = (
    "with space.txt",
    "per%20cent",
    "100%",
    "sharp#mark",
    "question?mark",
    "plus+and&amp;<tag>",
    "café/naïve-ü.txt",
    "cafe\u0301",
    "日本語/😀",
    "quote'\"",
    "back\\slash",
    "*?[a]",
    "…",
    "dot.",
    ".hidden/.file",
    "k" * 200,
)


@dataclass(frozen=True)
class Bucket:
    """A bucket by its store, and a way to change it behind the store's back."""

    store: ObjectStore
    put: Callable[[str, bytes], object]
    remove: Callable[[str], object]
    missing: ObjectStore


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["folder", "rclone", "moto"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    """An empty bucket."""
    name = f"bucket-{uuid4().hex[:12]}"
    match request.param:
        case "folder":
            (tmp_path / name).mkdir()
            store, missing = FolderStore(name, tmp_path / name), FolderStore("nobody", tmp_path / "nobody")
            return _in_a_folder(store, missing, tmp_path / name)
        case "rclone":
            served: Served = request.getfixturevalue("rclone")
            (served.root / name).mkdir()
            return _in_a_folder(_store(name, served.url), _store("nobody", served.url), served.root / name)
    url: str = request.getfixturevalue("moto")
    client = _client(url)
    client.create_bucket(Bucket=name)
    return Bucket(
        _store(name, url),
        lambda key, content: client.put_object(Bucket=name, Key=key, Body=content),
        lambda key: client.delete_object(Bucket=name, Key=key),
        _store("nobody", url),
    )


def _in_a_folder(store: ObjectStore, missing: ObjectStore, folder: Path) -> Bucket:
    def put(key: str, content: bytes) -> None:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)

    return Bucket(store, put, lambda key: (folder / key).unlink(), missing)


def _store(name: str, url: str | None) -> EndpointStore:
    return EndpointStore(Endpoint(name, url, REGION))


def _client(url: str) -> Any:
    return boto3.Session().client("s3", endpoint_url=url, region_name=REGION)


def _keys(store: ObjectStore, prefix: str) -> list[str]:
    return [found.key for found in store.listed(prefix)]


def _content(store: ObjectStore, key: str) -> bytes:
    return b"".join(store.read(_only(store, key)))


def _only(store: ObjectStore, key: str) -> S3Object:
    (found,) = [item for item in store.listed(key) if item.key == key]
    return found


# The same from each.


@pytest.mark.parametrize(
    ("prefix", "keys"),
    [
        ("train", ["train", "train-01/b", "train.csv", "train0", "trainer/c/d"]),
        ("train-", ["train-01/b"]),
        ("train-01", ["train-01/b"]),
        ("train-01/", ["train-01/b"]),
        ("train-01/b", ["train-01/b"]),
        ("trainer/c", ["trainer/c/d"]),
        ("trainer/c/d/", []),
        ("train/", []),
        ("train.csv", ["train.csv"]),
        ("r", []),
        ("other/t", ["other/train/x"]),
        ("other/train/x/y/z", []),
        ("", sorted(_SIDE_BY_SIDE)),
    ],
)
def test_a_prefix_finds_every_key_that_begins_with_it(bucket: Bucket, prefix: str, keys: list[str]) -> None:
    for key in _SIDE_BY_SIDE:
        bucket.put(key, b"content")

    assert _keys(bucket.store, prefix) == keys


def test_a_folder_is_all_that_is_below_it(bucket: Bucket) -> None:
    for key in ("train/a", "train/b/c/d", "train/b/e", "train.csv", "train-01/b"):
        bucket.put(key, b"content")

    assert _keys(bucket.store, "train/") == ["train/a", "train/b/c/d", "train/b/e"]
    assert _keys(bucket.store, "train/b") == ["train/b/c/d", "train/b/e"]
    assert _keys(bucket.store, "train") == ["train-01/b", "train.csv", "train/a", "train/b/c/d", "train/b/e"]


def test_an_object_is_listed_with_its_size_and_its_time(bucket: Bucket) -> None:
    bucket.put("train/a", b"12345")
    bucket.put("train/empty", b"")

    found = bucket.store.listed("train/")

    assert [(item.key, item.size) for item in found] == [("train/a", 5), ("train/empty", 0)]
    assert all(item.modified_ns > 1_700_000_000 * 10**9 for item in found)


def test_any_number_of_empty_objects_are_objects(bucket: Bucket) -> None:
    keys = [f"train/{number:02}" for number in range(20)]
    for key in keys:
        bucket.put(key, b"")

    assert _keys(bucket.store, "train/") == keys


def test_a_list_of_several_pages_is_whole(bucket: Bucket) -> None:
    keys = [f"train/{number:04}" for number in range(1005)]
    for key in keys:
        bucket.put(key, b"x")

    assert _keys(bucket.store, "train/") == keys
    assert _keys(bucket.store, "train/0") == keys[:1000]


def test_a_bucket_with_nothing_in_it_lists_nothing(bucket: Bucket) -> None:
    assert bucket.store.listed("") == []
    assert bucket.store.listed("train/") == []


@pytest.mark.parametrize("prefix", ["a//b", "a//", "./a", "a/./b"])
def test_a_prefix_that_no_key_has_finds_nothing(bucket: Bucket, prefix: str) -> None:
    bucket.put("a/b", b"content")

    assert bucket.store.listed(prefix) == []


@pytest.mark.parametrize("key", _ODD_KEYS)
def test_any_character_may_stand_in_a_key(bucket: Bucket, key: str) -> None:
    bucket.put(f"odd/{key}", key.encode())

    assert _keys(bucket.store, "odd/") == [f"odd/{key}"]
    assert _keys(bucket.store, f"odd/{key[:-1]}") == [f"odd/{key}"]
    assert _content(bucket.store, f"odd/{key}") == key.encode()


@pytest.mark.parametrize("key", _ODD_KEYS)
def test_any_character_may_be_written_in_a_key(bucket: Bucket, key: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")

    bucket.store.write(f"odd/{key}", source)

    assert _content(bucket.store, f"odd/{key}") == b"content"
    bucket.store.delete([f"odd/{key}"])
    assert bucket.store.listed("") == []


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 7])
def test_a_content_is_read_as_it_was_written(bucket: Bucket, size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    source = tmp_path / "source"
    source.write_bytes(content)

    bucket.store.write("a/b/c", source)

    assert _only(bucket.store, "a/b/c").size == size
    assert _content(bucket.store, "a/b/c") == content


def test_writing_again_replaces_the_content_and_the_tag(bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"old")
    bucket.store.write("a", source)
    before = _only(bucket.store, "a")
    source.write_bytes(b"new, and longer")

    bucket.store.write("a", source)

    assert _only(bucket.store, "a").etag != before.etag
    assert _content(bucket.store, "a") == b"new, and longer"


def test_a_tag_stays_while_the_content_does(bucket: Bucket) -> None:
    bucket.put("a", b"content")

    assert _only(bucket.store, "a").etag == _only(bucket.store, "a").etag != ""


def test_deleting_removes_what_is_there_and_minds_nothing_else(bucket: Bucket) -> None:
    for key in ("a", "b/c", "b/d", "e/f/g"):
        bucket.put(key, b"content")

    bucket.store.delete(["a", "b/c", "e/f/g", "nothing", "b/nothing", "a/below/a/file"])

    assert _keys(bucket.store, "") == ["b/d"]


def test_deleting_nothing_is_nothing(bucket: Bucket) -> None:
    bucket.store.delete([])

    assert bucket.store.listed("") == []


def test_an_object_that_is_gone_when_it_is_read_is_told(bucket: Bucket) -> None:
    bucket.put("train/a", b"content")
    found = _only(bucket.store, "train/a")
    bucket.remove("train/a")

    with pytest.raises(ObjectVanished, match=r"s3://.*/train/a: was there when the channel was listed"):
        list(bucket.store.read(found))


@pytest.mark.parametrize("content", [b"another", b"longer than it was"])
def test_an_object_that_has_changed_when_it_is_read_is_told(bucket: Bucket, content: bytes) -> None:
    bucket.put("train/a", b"content")
    found = _only(bucket.store, "train/a")
    bucket.put("train/a", content)

    with pytest.raises(ObjectVanished, match="has changed or gone"):
        list(bucket.store.read(found))


@pytest.mark.parametrize("key", ["", "a//b", "/a", "a/", "../a", "a/../b", "./a"])
def test_a_key_that_no_file_can_have_is_not_written(bucket: Bucket, key: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")

    with pytest.raises(InputRefused, match="no file can have this key"):
        bucket.store.write(key, source)

    assert bucket.store.listed("") == []


def test_a_bucket_that_is_not_there_is_refused(bucket: Bucket) -> None:
    for prefix in ("", "train", "train/", "train/a", "train//a"):
        with pytest.raises(InputRefused, match="s3://nobody") as refused:
            bucket.missing.listed(prefix)
        assert "\n" not in str(refused.value)
        assert refused.value.exit_code == 2


def test_a_key_is_told_as_people_write_it(bucket: Bucket) -> None:
    assert bucket.store.uri("a/b c").startswith("s3://")
    assert bucket.store.uri("a/b c").endswith("/a/b c")


# What only an S3 has.


@dataclass(frozen=True)
class AnyKey:
    """A bucket of moto's, which takes keys that no file system holds."""

    store: EndpointStore
    put: Callable[[str, bytes], object]


@pytest.fixture
def any_key(moto: str) -> AnyKey:
    name = f"bucket-{uuid4().hex[:12]}"
    client = _client(moto)
    client.create_bucket(Bucket=name)
    return AnyKey(_store(name, moto), lambda key, content: client.put_object(Bucket=name, Key=key, Body=content))


@pytest.mark.parametrize("count", [1, 20])
def test_a_folders_own_key_is_no_object(any_key: AnyKey, count: int) -> None:
    any_key.put("train/", b"")
    any_key.put("train/empty", b"")
    for number in range(count):
        any_key.put(f"train/{number:02}/", b"")
        any_key.put(f"train/{number:02}/a", b"content")

    keys = [*(f"train/{number:02}/a" for number in range(count)), "train/empty"]
    assert _keys(any_key.store, "train/") == keys
    assert _keys(any_key.store, "train") == keys
    assert _keys(any_key.store, "") == keys


def test_a_folders_own_key_beside_a_file_of_its_name_is_no_object(any_key: AnyKey) -> None:
    any_key.put("train/x", b"content")
    any_key.put("train/x/", b"")

    assert [(item.key, item.size) for item in any_key.store.listed("train/")] == [("train/x", 7)]


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("train/a//b", "key 'train/a//b' holds an empty part"),
        ("train//x", "key 'train//x' begins with /"),
        ("train/../x", "key 'train/../x' holds an empty part, . or .."),
        ("train/./x", "key 'train/./x' holds"),
    ],
)
def test_every_key_that_no_file_can_have_is_told(any_key: AnyKey, key: str, why: str) -> None:
    any_key.put("train/good", b"content")
    any_key.put(key, b"content")
    any_key.put("train/worse/../y", b"content")

    with pytest.raises(ListingRefused) as refused:
        under_prefix("train/", any_key.store.listed("train/"))

    assert len(refused.value.reasons) == 2
    assert any(reason.startswith(why) for reason in refused.value.reasons)


def test_a_key_beside_the_prefix_that_no_file_can_have_is_no_fault(any_key: AnyKey) -> None:
    for key in ("/lead", "../up", "train/a", "trail//x", "tra//", "train-2//b/c"):
        any_key.put(key, b"content")

    assert _keys(any_key.store, "train/") == ["train/a"]
    assert _keys(any_key.store, "train/a") == ["train/a"]


def test_a_tag_is_the_same_however_it_was_listed(any_key: AnyKey) -> None:
    any_key.put("train/a", b"content")
    before = any_key.store.listed("train/")
    any_key.put("train//b", b"content")

    after = [item for item in any_key.store.listed("train/") if item.key == "train/a"]

    assert after == before
    assert b"".join(any_key.store.read(after[0])) == b"content"


def test_a_file_and_a_file_of_its_name_and_a_slash_are_refused(any_key: AnyKey) -> None:
    any_key.put("train/d/x", b"content")
    any_key.put("train/d/x/", b"more content")

    with pytest.raises(ListingRefused, match="keys 'train/d/x' and 'train/d/x/' differ only in a trailing slash"):
        under_prefix("train/", any_key.store.listed("train/"))


def test_a_content_under_a_key_that_ends_in_a_slash_is_refused_when_it_is_read(any_key: AnyKey) -> None:
    any_key.put("train/x/", b"content")
    (found,) = any_key.store.listed("train/")

    with pytest.raises(InputRefused, match=r"/train/x/: no file can have this key"):
        list(any_key.store.read(found))


def test_a_content_under_a_key_that_begins_with_a_slash_is_refused_when_it_is_read(any_key: AnyKey) -> None:
    any_key.put("/x", b"content")
    (found,) = any_key.store.listed("")

    with pytest.raises(InputRefused, match=r"s3://bucket-\w+//x: no file can have this key"):
        list(any_key.store.read(found))


def test_a_key_with_a_control_character_is_listed_and_refused_when_it_is_read(any_key: AnyKey) -> None:
    any_key.put("train/a\tb", b"content")
    (found,) = any_key.store.listed("train/")

    with pytest.raises(InputRefused, match="a control character"):
        list(any_key.store.read(found))


def test_a_large_file_is_uploaded_in_parts(rclone: Served, tmp_path: Path) -> None:
    (rclone.root / "large").mkdir()
    source = tmp_path / "source"
    source.write_bytes(bytes(1 << 20) * 20 + b"end")

    _store("large", rclone.url).write("a", source)

    assert (rclone.root / "large/a").read_bytes() == source.read_bytes()


@pytest.fixture
def theirs(rclone: Served) -> Endpoint:
    (rclone.root / "theirs").mkdir(exist_ok=True)
    (rclone.root / "theirs/a").write_bytes(b"content")
    return Endpoint("theirs", rclone.url, REGION)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("prefix", ["", "a", "a/"])
def test_who_is_not_let_in_is_told_where_credentials_come_from(
    theirs: Endpoint, monkeypatch: pytest.MonkeyPatch, name: str, prefix: str, tmp_path: Path
) -> None:
    (found,) = EndpointStore(theirs).listed("a")
    monkeypatch.setenv(name, "somebody-else")
    store = EndpointStore(theirs)
    (tmp_path / "source").write_bytes(b"")

    for act in (
        lambda: store.listed(prefix),
        lambda: list(store.read(found)),
        lambda: store.write("b", tmp_path / "source"),
    ):
        with pytest.raises(MachineCannot, match=r"s3://theirs/.*access denied by http://.*AWS_PROFILE") as refused:
            act()
        assert refused.value.exit_code == 3
        assert "\n" not in str(refused.value)
        assert "somebody-else" not in str(refused.value)


def test_credentials_come_from_a_profile_where_the_environment_has_none(
    theirs: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = (f"{name.lower()} = {value}\n" for name, value in KEYS.items())
    (tmp_path / "credentials").write_text(f"[mine]\n{''.join(lines)}")
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "mine")

    assert _keys(EndpointStore(theirs), "") == ["a"]


@pytest.mark.parametrize(("profile", "why"), [("", "there are no AWS credentials here"), ("nobody", r"\(nobody\)")])
def test_where_nobody_has_credentials_it_is_said(
    theirs: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str, why: str
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)

    with pytest.raises(MachineCannot, match=why) as refused:
        EndpointStore(theirs).listed("")

    assert "aws sso login" in str(refused.value)


def test_the_endpoint_that_was_named_is_asked_whatever_the_environment_says(
    theirs: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert _keys(EndpointStore(theirs), "") == ["a"]


def test_nothing_listens_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    (tmp_path / "source").write_bytes(b"")

    _assert_unreachable(_store("theirs", url), url)


def test_who_listens_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_endpoint, "_ASKING", {"timeout": timedelta(seconds=0.2)})
    monkeypatch.setattr(s3_endpoint, "_ASKING_AGAIN", {"max_retries": 0, "retry_timeout": timedelta(seconds=1)})
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"

        _assert_unreachable(_store("theirs", url), url)


def _assert_unreachable(store: EndpointStore, url: str) -> None:
    why = rf"^s3://theirs/train: {url} cannot be reached \(HTTP error.*\)\. Look whether it runs, .*homeport\.toml"
    with pytest.raises(MachineCannot, match=why) as refused:
        store.listed("train")
    assert refused.value.exit_code == 3
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (301, b"", "the bucket is not in us-east-1. Name the right one with HOMEPORT_REGION"),
        (307, b"<Error><Code>PermanentRedirect</Code></Error>", "the bucket is not in us-east-1"),
        (200, b"what do you want?", "does not answer as S3 does"),
        (418, b"", "does not answer as S3 does"),
        (
            403,
            b"<Error><Code>ExpiredToken</Code><Message>Old.</Message></Error>",
            "denied by .* \\(ExpiredToken: Old.\\)",
        ),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", "has no such bucket \\(NoSuchBucket\\)"),
    ],
)
def test_what_a_server_answers_is_told_in_a_line(status: int, body: bytes, words: str) -> None:
    with _answering(status, body) as url, pytest.raises((MachineCannot, InputRefused), match=words) as refused:
        _store("theirs", url).listed("train/")

    assert "\n" not in str(refused.value)


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[str]:
    """A server that always gives one answer."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
