"""S3 URIs as buckets and keys."""

import pytest

from training_job.s3_uri import S3Uri


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://my-bucket/train/", "my-bucket", "train/"),
        ("s3://my-bucket/train", "my-bucket", "train"),
        ("s3://my-bucket/", "my-bucket", ""),
        ("s3://my-bucket//train//x", "my-bucket", "/train//x"),
        ("s3://my-bucket/a b?c#d%20", "my-bucket", "a b?c#d%20"),
        ("s3://my.bucket/s3://x", "my.bucket", "s3://x"),
    ],
)
def test_a_uri_is_a_bucket_and_a_key_as_they_stand(text: str, bucket: str, key: str) -> None:
    uri = S3Uri.parse(text)

    assert (uri.bucket, uri.key) == (bucket, key)
    assert str(uri) == text


def test_a_bucket_alone_is_all_of_it() -> None:
    assert S3Uri.parse("s3://my-bucket") == S3Uri("my-bucket", "")


@pytest.mark.parametrize(
    "text", ["", "s3:", "s3:/b/k", "s3://", "s3:///k", "https://s3.amazonaws.com/b/k", "S3://b/k", "b/k", "fsx://b/k"]
)
def test_anything_else_is_refused_as_it_was_written(text: str) -> None:
    with pytest.raises(ValueError, match="must be s3://bucket/key") as refused:
        S3Uri.parse(text)

    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("s3://b/a", ("x",), "s3://b/a/x"),
        ("s3://b/a/", ("x", "y"), "s3://b/a/x/y"),
        ("s3://b", ("x",), "s3://b/x"),
        ("s3://b/", ("x",), "s3://b/x"),
        ("s3://b/a", (), "s3://b/a"),
    ],
)
def test_a_key_below_another_has_one_slash_between(uri: str, parts: tuple[str, ...], joined: str) -> None:
    assert str(S3Uri.parse(uri).joined(*parts)) == joined
