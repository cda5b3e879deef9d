"""An S3 URI as the bucket and the key (or the beginning of keys) that it names. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class S3Uri:
    """`s3://bucket/key`; the key is empty where the whole bucket is meant."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Uri:
        """Raises ValueError for anything but s3://bucket/…, https:// forms among them."""
        scheme, separator, rest = text.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not separator or not bucket:
            raise ValueError(f"{text!r} must be s3://bucket/key")
        return cls(bucket, key)

    def joined(self, *parts: str) -> S3Uri:
        """The URI of a key below this one."""
        return S3Uri(self.bucket, "/".join([*([self.key.rstrip("/")] if self.key else []), *parts]))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
