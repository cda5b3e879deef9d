"""Data that cannot be a channel: told with the channel, the URI and the way out, before any container starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import boto3
import pytest

from tests.container.conftest import Ran, Shell, kept
from tests.s3_server import KEYS, REGION, Served, moto_s3

Put = Callable[[str, bytes], object]
MODES = ("File", "FastFile", "Pipe")
FOLDER, RCLONE, MOTO = "a directory", "an endpoint", "an endpoint that takes any key"
EVERYWHERE = (FOLDER, RCLONE)
MANIFEST = 's3_data_type = "ManifestFile"'
AUGMENTED = """s3_data_type = "AugmentedManifestFile"
input_mode = "Pipe"
record_wrapping = "RecordIO"
attribute_names = ["image-ref", "class"]"""
GOOD_LINE = '{"image-ref": "s3://bucket/set/f", "class": 1}\n'


@dataclass(frozen=True)
class Case:
    """Objects of a bucket that make a bad channel, and what is told of it."""

    says: str
    objects: dict[str, bytes]
    uri: str = "s3://bucket/set/"
    options: str = ""
    buckets: tuple[str, ...] = EVERYWHERE


def manifest(text: str) -> dict[str, bytes]:
    return {"list": text.encode(), "set/f": b"content"}


CASES = {
    "nothing there": Case("there is no object whose key begins so", {"other": b"x"}),
    "a manifest that is not there": Case("there is no such manifest", {}, "s3://bucket/list", MANIFEST),
    "a manifest's bad line": Case(
        "line 3: must be a key's text, not 7",
        manifest('[{"prefix": "s3://bucket/set/"},\n"f",\n7]'),
        "s3://bucket/list",
        MANIFEST,
    ),
    "a manifest that is no JSON": Case(
        "line 2: is no JSON", manifest('[{"prefix": "s3://bucket/set/"},\nf]'), "s3://bucket/list", MANIFEST
    ),
    "a manifest that names what is not there": Case(
        "names s3://bucket/set/gone, which is not there",
        manifest('[{"prefix": "s3://bucket/set/"}, "f", "gone"]'),
        "s3://bucket/list",
        MANIFEST,
    ),
    "a manifest that leads out": Case(
        "s3://bucket/set/../../secret",
        manifest('[{"prefix": "s3://bucket/set/"}, "../../secret"]'),
        "s3://bucket/list",
        MANIFEST,
    ),
    "an augmented manifest's bad line": Case(
        "line 2: has no attribute class",
        manifest(f'{GOOD_LINE}{{"image-ref": "s3://bucket/set/f"}}\n'),
        "s3://bucket/list",
        AUGMENTED,
    ),
    "an augmented manifest that is no JSON": Case(
        "line 2: is no JSON", manifest(f"{GOOD_LINE}no\n"), "s3://bucket/list", AUGMENTED
    ),
    "an augmented manifest that names what is not there": Case(
        "refers to s3://bucket/gone, which is not there",
        manifest(GOOD_LINE.replace("set/f", "gone")),
        "s3://bucket/list",
        AUGMENTED,
    ),
    "part of a folder's name": Case(
        "FastFile takes a whole folder, and 'set-01/f' begins so too. End the URI with a slash: s3://bucket/set/",
        {"set/f": b"x", "set-01/f": b"x"},
        "s3://bucket/set",
        'input_mode = "FastFile"',
    ),
    "a part ..": Case("holds an empty part, . or ..", {"set/../../f": b"x"}, buckets=(MOTO,)),
    "a leading slash": Case("begins with / after the prefix", {"set//f": b"x"}, buckets=(MOTO,)),
    "a slash that begins the key": Case(
        "s3://bucket//f: no file can have this key", {"/f": b"x"}, "s3://bucket", buckets=(MOTO,)
    ),
    "a long name": Case("has a part of over 255 bytes", {f"set/{'n' * 300}": b"x"}, buckets=(MOTO,)),
    "a file that is a folder": Case(
        "key 'set/a' is a file where 'set/a/b' needs a folder", {"set/a": b"x", "set/a/b": b"x"}, buckets=(MOTO,)
    ),
    "a slash more": Case(
        "keys 'set/a' and 'set/a/' differ only in a trailing slash", {"set/a": b"x", "set/a/": b"y"}, buckets=(MOTO,)
    ),
    "a slash at the end": Case("s3://bucket/set/a/: no file can have this key", {"set/a/": b"y"}, buckets=(MOTO,)),
}


@pytest.fixture
def s3_of_any_key() -> Iterator[str]:
    with moto_s3() as url:
        urlopen(Request(f"{url}/moto-api/reset", method="POST")).close()
        yield url


@pytest.fixture
def bucket(request: pytest.FixtureRequest, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Put:
    """The bucket `bucket`, of the kind that the test asks for, and how an object is put there."""
    for name, value in (KEYS | {"AWS_REGION": REGION}).items():
        monkeypatch.setenv(name, value)
    if request.param == MOTO:
        url: str = request.getfixturevalue("s3_of_any_key")
        client = boto3.Session().client("s3", endpoint_url=url, region_name=REGION)
        client.create_bucket(Bucket="bucket")
        _map(shell, f'endpoint = "{url}"')
        return lambda key, content: client.put_object(Bucket="bucket", Key=key, Body=content)
    s3: Served = request.getfixturevalue("s3")
    (s3.root / "bucket").mkdir(parents=True)
    _map(shell, f'path = "{s3.root}/bucket"' if request.param == FOLDER else f'endpoint = "{s3.url}"')
    return lambda key, content: s3.put("bucket", key, content)


def _map(shell: Shell, where: str) -> None:
    with (shell.folder / "homeport.toml").open("a") as place:
        place.write(f"[local.buckets.bucket]\n{where}\n[local.cache]\npath = 'cache'\n")


def _job(shell: Shell, uri: str, options: str = "") -> Path:
    return shell.job(more=f'[inputs.data]\nuri = "{uri}"\n{options}')


def _assert_refused(shell: Shell, ran: Ran, code: int, *says: str) -> None:
    assert (ran.code, [text for text in says if text not in ran.err]) == (code, []), ran.err
    assert "channel data: " in ran.err
    assert "Traceback" not in ran.err
    assert "Training" not in ran.out
    assert kept(shell.folder / "cache") == []
    assert {path.name for path in shell.folder.iterdir()} <= {
        *("cache", "efs", "fsx", "homeport.toml", "job.toml", "s3", "secret")
    }


@pytest.mark.parametrize(
    ("bucket", "name"), [(kind, name) for name, case in CASES.items() for kind in case.buckets], indirect=["bucket"]
)
def test_objects_that_are_no_channel_are_refused(shell: Shell, bucket: Put, name: str) -> None:
    case = CASES[name]
    for key, content in case.objects.items():
        bucket(key, content)
    (shell.folder / "secret").touch()

    ran = shell.train(_job(shell, case.uri, case.options))

    _assert_refused(shell, ran, 2, case.uri, case.says)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bucket", [FOLDER], indirect=True)
def test_a_link_out_of_the_buckets_directory_is_refused(shell: Shell, bucket: Put, s3: Served, mode: str) -> None:
    bucket("set/f", b"content")
    (shell.folder / "secret").touch()
    (s3.root / "bucket" / "set" / "link").symlink_to(shell.folder / "secret")

    ran = shell.train(_job(shell, "s3://bucket/set/", f'input_mode = "{mode}"'))

    _assert_refused(shell, ran, 2, "s3://bucket/set/link", "leads out of the bucket's directory")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bucket", [RCLONE], indirect=True)
@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_the_endpoint_lacks_is_refused(shell: Shell, s3: Served, mode: str) -> None:
    (s3.root / "bucket").rmdir()

    ran = shell.train(_job(shell, "s3://bucket/set/", f'input_mode = "{mode}"'))

    _assert_refused(shell, ran, 2, "s3://bucket/set/", f"{s3.url} has no such bucket")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bucket", [RCLONE], indirect=True)
def test_keys_that_the_endpoint_denies_are_told(shell: Shell, bucket: Put, s3: Served, mode: str) -> None:
    bucket("set/f", b"content")

    job = _job(shell, "s3://bucket/set/", f'input_mode = "{mode}"')
    ran = shell.train(job, environ={"AWS_SECRET_ACCESS_KEY": "wrong"})

    _assert_refused(shell, ran, 3, "s3://bucket/set/", f"access denied by {s3.url}", "Look at AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bucket", [RCLONE], indirect=True)
@pytest.mark.usefixtures("bucket")
def test_no_credentials_at_all_are_told(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    for name in (*KEYS, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), str(tmp_path / "nowhere"))

    job = _job(shell, "s3://bucket/set/", f'input_mode = "{mode}"')
    ran = shell.train(job, environ=nowhere | {"AWS_EC2_METADATA_DISABLED": "true"})

    _assert_refused(shell, ran, 3, "s3://bucket/set/", "there are no AWS credentials here", "AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bucket", [RCLONE], indirect=True)
@pytest.mark.usefixtures("bucket")
def test_an_endpoint_that_does_not_answer_is_told_within_seconds(shell: Shell, s3: Served, mode: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    place = shell.folder / "homeport.toml"
    place.write_text(place.read_text().replace(s3.url, url))
    began = time.monotonic()

    ran = shell.train(_job(shell, "s3://bucket/set/", f'input_mode = "{mode}"'))

    _assert_refused(shell, ran, 3, "s3://bucket/set/", f"{url} cannot be reached", "homeport.toml")
    assert time.monotonic() - began < 15
