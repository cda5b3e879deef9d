"""Script mode's source on its way to the account: packed as here, kept under its content, sent once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from training_job.errors import Fault, JobRefused
from training_job.model import TrainingJob
from training_job.s3_uri import S3Uri
from training_job.script_mode import SOURCE_ARCHIVE
from training_job.source_archive import packed_source

if TYPE_CHECKING:
    from cloud.aws import Clients

ARCHIVE = PurePosixPath(SOURCE_ARCHIVE).name


@dataclass(frozen=True)
class Source:
    """sourcedir.tar.gz: its bytes, and the SHA-256 that is its place in the bucket."""

    content: bytes
    digest: str

    @classmethod
    def of(cls, job: TrainingJob) -> Self | None:
        """The source of a job in script mode; None for one whose code is in its image. Raises JobRefused."""
        if job.source_dir is None:
            return None
        try:
            content = packed_source(_directory(job.source_dir))
        except OSError as error:
            what = f"{job.source_dir} cannot be read: {error.strerror or error}"
            raise JobRefused(job.training_job_name, [Fault("source_dir", what)]) from None
        return cls(content, hashlib.sha256(content).hexdigest())

    def prefix(self, bucket: str) -> S3Uri:
        """The prefix that holds this archive and nothing else, as a channel wants it."""
        return S3Uri(bucket, f"source/{self.digest}/")

    def upload(self, clients: Clients, bucket: str) -> bool:
        """Send it where no such object is yet; whether that was so. botocore's own errors are the caller's."""
        uri = self.prefix(bucket).joined(ARCHIVE)
        s3 = clients("s3")
        there = s3.list_objects_v2(Bucket=uri.bucket, Prefix=uri.key, MaxKeys=1).get("Contents", [])
        if any(found["Key"] == uri.key and found["Size"] == len(self.content) for found in there):
            return False
        s3.put_object(Bucket=uri.bucket, Key=uri.key, Body=self.content)
        return True


def _directory(source: Path) -> Path:
    if not source.is_dir():
        raise NotADirectoryError(0, "there is no such directory")
    return source
