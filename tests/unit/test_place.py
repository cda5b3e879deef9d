"""homeport.toml: which directory is which file system or bucket, and where runs go."""

from pathlib import Path
from textwrap import dedent

import pytest

from local_mode.place import Bucket, FileSystem, read_place
from training_job.errors import JobRefused

FILE = """
[local]
runs = "out/runs"
code = "src"

[local.file_systems.training-data]
mount_name = "fsx"
path = "data/fsx"

[local.file_systems."fs-0123456789abcdef0"]
type = "EFS"
path = "/mnt/efs"

[local.buckets.my-bucket]
path = "data/s3/my-bucket"

[local.buckets.theirs]
endpoint = "http://minio.example:9000/"

[local.buckets."in.the.cloud"]
endpoint = "aws"

[local.s3]
endpoint = "http://127.0.0.1:9000"

[local.cache]
path = "/scratch/cache"
gigabytes = 200

[cloud]
region = "eu-west-1"
stack = "mine"
"""


def test_a_place_is_what_the_nearest_file_says(tmp_path: Path) -> None:
    (tmp_path / "homeport.toml").write_text(FILE)
    below = tmp_path / "entrypoints/cifar10"
    below.mkdir(parents=True)

    place = read_place(below, {})

    assert place.file == tmp_path / "homeport.toml"
    assert (place.runs, place.code) == (tmp_path / "out/runs", tmp_path / "src")
    assert place.region == "eu-west-1"
    assert place.file_systems["training-data"] == FileSystem(path="data/fsx", mount_name="fsx")
    assert place.buckets["my-bucket"] == Bucket(path="data/s3/my-bucket")
    assert place.path("data/s3/my-bucket") == tmp_path / "data/s3/my-bucket"
    assert place.buckets["theirs"] == Bucket(endpoint="http://minio.example:9000")
    assert place.buckets["in.the.cloud"] == Bucket(endpoint="aws")
    assert place.endpoint == "http://127.0.0.1:9000"
    assert (place.cache, place.cache_bytes) == (Path("/scratch/cache"), 200 * 10**9)
    assert place.path(place.file_systems["fs-0123456789abcdef0"].path) == Path("/mnt/efs")


def test_without_a_file_everything_is_beside_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    place = read_place(tmp_path, {})

    assert (place.file, place.runs, place.region) == (None, tmp_path / "runs", "us-west-2")
    assert place.source == f"{tmp_path}/homeport.toml"
    assert (place.endpoint, dict(place.buckets)) == (None, {})
    assert (place.cache, place.cache_bytes) == (Path("/home/me/.cache/homeport"), 50 * 10**9)


@pytest.mark.parametrize(
    ("environ", "flag", "runs", "region"),
    [
        ({}, None, "out/runs", "eu-west-1"),
        ({"HOMEPORT_RUNS": "elsewhere", "HOMEPORT_REGION": "us-east-1"}, None, "below/elsewhere", "us-east-1"),
        ({"HOMEPORT_RUNS": "/elsewhere"}, None, "/elsewhere", "eu-west-1"),
        ({"HOMEPORT_RUNS": "elsewhere"}, "flag", "below/flag", "eu-west-1"),
        ({"HOMEPORT_RUNS": "", "HOMEPORT_REGION": ""}, None, "out/runs", "eu-west-1"),
    ],
)
def test_variables_win_over_the_file_and_flags_over_both(
    tmp_path: Path, environ: dict[str, str], flag: str | None, runs: str, region: str
) -> None:
    (tmp_path / "homeport.toml").write_text(FILE)
    (tmp_path / "below").mkdir()

    place = read_place(tmp_path / "below", environ, Path(flag) if flag else None)

    assert place.runs == tmp_path / runs
    assert place.region == region


def test_a_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(FILE)

    assert read_place(tmp_path, {"HOMEPORT_FILE": "other.toml"}).region == "eu-west-1"


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "homeport.toml").write_text(FILE, encoding="utf-8-sig")

    assert read_place(tmp_path, {}).region == "eu-west-1"


def test_a_named_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match=r"HOMEPORT_FILE: 1 fault\n  .*other.toml: there is no such file"):
        read_place(tmp_path, {"HOMEPORT_FILE": "other.toml"})


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    assert read_place(tmp_path, {}).path("~/fsx") == Path("/home/me/fsx")


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "homeport.toml").write_text(
        dedent("""\
        [local.file_systems.a]
        mountname = "fsx"
        [local.file_systems.b]
        path = 5
        id = "fs-x"
        type = "FSxLuster"
        [local.bucket.b]
        path = "x"
        [cloud]
        region = "somewhere"
        """)
    )

    with pytest.raises(JobRefused) as refused:
        read_place(tmp_path, {})

    assert [str(fault) for fault in refused.value.faults] == [
        "homeport.toml:1 local.file_systems.a.path: is needed",
        "homeport.toml:2 local.file_systems.a.mountname: is not known here; did you mean 'mount_name'?",
        "homeport.toml:4 local.file_systems.b.path: must be text, not 5",
        "homeport.toml:5 local.file_systems.b.id: 'fs-x' must match fs-[0-9a-f]{8,18}",
        "homeport.toml:6 local.file_systems.b.type: 'FSxLuster' is none of FSxLustre, EFS; did you mean 'FSxLustre'?",
        "homeport.toml:7 local.bucket: is not known here; did you mean 'buckets'?",
        "homeport.toml:10 cloud.region: 'somewhere' must match [a-z]{2,4}(-[a-z]+)+-[0-9]+",
    ]
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "content",
    [
        b"[local",
        b"\xff",
        b"a = " + b"9" * 5000,
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "homeport.toml").write_bytes(content)

    with pytest.raises(JobRefused, match="cannot be read"):
        read_place(tmp_path, {})


@pytest.mark.parametrize("path", ["~nobody-of-that-name/fsx", "a\0b"])
def test_a_path_that_is_none_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(JobRefused):
        read_place(tmp_path, {}).path(path)


def test_runs_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "homeport.toml").write_text('[local]\nruns = "~/runs"')

    assert read_place(tmp_path, {}).runs == Path("/home/me/runs")


def test_an_fsx_may_be_linked_to_s3(tmp_path: Path) -> None:
    (tmp_path / "homeport.toml").write_text(FILE.replace('"data/fsx"', '"data/fsx"\nlink = "s3://my-bucket/datasets"'))

    assert read_place(tmp_path, {}).file_systems["training-data"].link == "s3://my-bucket/datasets"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            'link = "https://my-bucket/datasets"',
            "homeport.toml:3 local.file_systems.a.link: 'https://my-bucket/datasets'",
        ),
        ('link = "s3://b/../a"', "link: 's3://b/../a': the prefix must neither begin with / nor hold .."),
        ("link = 5", "link: must be text, not 5"),
        (
            'link = "s3://b"\ntype = "EFS"',
            "local.file_systems.a: link is for FSx for Lustre: EFS has no data repository",
        ),
    ],
)
def test_a_link_that_can_be_none_is_refused(tmp_path: Path, lines: str, told: str) -> None:
    (tmp_path / "homeport.toml").write_text(f'[local.file_systems.a]\npath = "x"\n{lines}\n')

    with pytest.raises(JobRefused) as refused:
        read_place(tmp_path, {})

    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("cache", "environ", "path"),
    [
        ("", {}, "/home/me/.cache/homeport"),
        ("", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/homeport"),
        ("", {"XDG_CACHE_HOME": ""}, "/home/me/.cache/homeport"),
        ('path = "near"', {"XDG_CACHE_HOME": "/xdg"}, "near"),
        ('path = "~/far"', {}, "/home/me/far"),
        ('path = "near"', {"XDG_CACHE_HOME": "/xdg", "HOMEPORT_CACHE": "/named"}, "/named"),
        ('path = "near"', {"HOMEPORT_CACHE": "named"}, "below/named"),
        ("gigabytes = 0.5", {"HOMEPORT_CACHE": "~/named"}, "/home/me/named"),
    ],
)
def test_the_cache_is_where_the_environment_or_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, environ: dict[str, str], path: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "homeport.toml").write_text(f"[local.cache]\n{cache}")
    (tmp_path / "below").mkdir()

    assert read_place(tmp_path / "below", environ).cache == tmp_path / path


@pytest.mark.parametrize(
    ("named", "endpoint"),
    [
        ({}, "http://file.example"),
        ({"AWS_ENDPOINT_URL_S3": ""}, "http://file.example"),
        ({"AWS_ENDPOINT_URL_S3": "https://named.example/"}, "https://named.example"),
        ({"AWS_ENDPOINT_URL_S3": "http://[::1]:9000"}, "http://[::1]:9000"),
        ({"AWS_ENDPOINT_URL_S3": "aws"}, "aws"),
    ],
)
def test_the_sdks_variable_for_an_endpoint_wins_over_the_file(
    tmp_path: Path, named: dict[str, str], endpoint: str
) -> None:
    (tmp_path / "homeport.toml").write_text('[local.s3]\nendpoint = "http://file.example"')

    assert read_place(tmp_path, named).endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:9000",
        "AWS",
        "ftp://a",
        "http://",
        "http:///bucket",
        "http://a/bucket",
        "http://a?b",
        "http://a b",
        "http://a:99999",
        "http://a:0",
        "http://a:b",
        "http://[::1",
    ],
)
def test_an_endpoint_that_is_none_is_refused(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(JobRefused, match=r"AWS_ENDPOINT_URL_S3: 1 fault\n  .* must be aws, or an address such as http"):
        read_place(tmp_path, {"AWS_ENDPOINT_URL_S3": endpoint})


def test_every_fault_of_buckets_and_cache_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "homeport.toml").write_text(
        dedent("""\
        [local.buckets.a]
        path = "x"
        endpoint = "aws"
        [local.buckets.b]
        [local.buckets.c]
        endpoint = "minio:9000"
        [local.s3]
        endpoint = 5
        [local.cache]
        gigabytes = 0
        size = 5
        """)
    )

    with pytest.raises(JobRefused) as refused:
        read_place(tmp_path, {})

    assert [str(fault) for fault in refused.value.faults] == [
        "homeport.toml:8 local.s3.endpoint: must be text, not 5",
        "homeport.toml:10 local.cache.gigabytes: must be more than 0, not 0",
        "homeport.toml:11 local.cache.size: is not known here",
        "homeport.toml:1 local.buckets.a: exactly one of path and endpoint must be given",
        "homeport.toml:4 local.buckets.b: exactly one of path and endpoint must be given",
        "homeport.toml:6 local.buckets.c.endpoint: 'minio:9000' must be aws, or an address such as "
        "http://127.0.0.1:9000",
    ]


@pytest.mark.parametrize("size", ["inf", "nan", "-1", "'50'", "true"])
def test_a_size_of_the_cache_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    (tmp_path / "homeport.toml").write_text(f"[local.cache]\ngigabytes = {size}")

    with pytest.raises(JobRefused, match=r"homeport.toml:2 local.cache.gigabytes: "):
        read_place(tmp_path, {})
