"""Which directory or endpoint a bucket is."""

from pathlib import Path

import pytest

from local_mode.buckets import Endpoint, Folder, find_bucket, unknown
from local_mode.place import Bucket, Place

_HERE, _MINIO, _REGION = "http://127.0.0.1:9000", "http://minio.example:9000", "eu-west-1"


def _place(endpoint: str | None = None, **buckets: Bucket) -> Place:
    root = Path("/project")
    return Place(
        root,
        root / "runs",
        root,
        root / "state",
        region=_REGION,
        file=root / "homeport.toml",
        buckets=buckets,
        endpoint=endpoint,
    )


@pytest.mark.parametrize(
    ("mapping", "endpoint", "found"),
    [
        (None, None, None),
        (Bucket(path="data/s3"), None, Folder("mine", Path("/project/data/s3"))),
        (Bucket(path="/data/s3"), _HERE, Folder("mine", Path("/data/s3"))),
        (Bucket(endpoint=_MINIO), None, Endpoint("mine", _MINIO, _REGION)),
        (Bucket(endpoint=_MINIO), _HERE, Endpoint("mine", _MINIO, _REGION)),
        (Bucket(endpoint="aws"), None, Endpoint("mine", None, _REGION)),
        (Bucket(endpoint="aws"), _HERE, Endpoint("mine", None, _REGION)),
        (None, _HERE, Endpoint("mine", _HERE, _REGION)),
        (None, "aws", Endpoint("mine", None, _REGION)),
    ],
)
def test_what_stands_for_the_bucket_itself_wins_over_what_stands_for_all(
    mapping: Bucket | None, endpoint: str | None, found: object
) -> None:
    place = _place(endpoint, **({"mine": mapping} if mapping else {}))

    assert find_bucket("mine", place) == found


def test_a_slash_at_the_end_makes_no_other_endpoint() -> None:
    assert find_bucket("mine", _place(mine=Bucket(endpoint=f"{_MINIO}/"))) == Endpoint("mine", _MINIO, _REGION)


def test_an_unknown_bucket_is_told_with_every_way_to_have_it() -> None:
    why = unknown("my-bukket", _place(**{"my-bucket": Bucket(path="data")})).why

    assert why.splitlines() == [
        "bucket 'my-bukket' is not mapped in /project/homeport.toml; did you mean 'my-bucket'?; add",
        "      [local.buckets.my-bukket]",
        '      path = "the directory that stands for it"',
        '    or, to read it from S3 with your own credentials, endpoint = "aws" in the place of path',
    ]
