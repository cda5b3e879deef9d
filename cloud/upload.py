"""Send files to a bucket: many at once, each checked by S3 as it arrives, none that is there already.

A client that was killed is started again and goes on: whole files that are there are not sent again, nor the parts of a
large one that were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, Protocol, TypeVar

from cloud.aws import Aws
from cloud.aws_errors import ClientError, code_of, told
from cloud.object_store import Put, putting_to
from cloud.upload_plan import (
    PART,
    LocalFile,
    Part,
    PartDigest,
    RemoteObject,
    checksum_of,
    etags_of,
    parts_of,
    plan_upload,
)
from training_job.errors import MachineCannot

_AT_ONCE = 16

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Progress(Protocol):
    """Who hears how far it is."""

    def sending(self, files: int, size: int) -> None:
        """It begins: so many files and bytes are looked at."""

    def done(self, size: int, *, sent: bool) -> None:
        """So many bytes more are there; they were sent, or had been there."""


class Uploader:
    """What sends to one bucket. Every method raises AccountCannot for what AWS refuses."""

    def __init__(self, aws: Aws, bucket: str, progress: Progress) -> None:
        self._s3 = aws("s3")
        self._region = aws.region
        self._bucket = bucket
        self._put: Put = putting_to(aws, bucket)
        self._progress = progress

    def send(self, files: list[LocalFile], prefix: str) -> list[LocalFile]:
        """Have every file in the bucket. Returns those that were sent; raises MachineCannot for one that changes."""
        plan = plan_upload(files, self._listed(prefix))
        self._progress.sending(len(files), sum(file.size for file in files))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            same = _all(pool, lambda both: self._is(*both), plan.alike)
            changed = [file for (file, _), is_same in zip(plan.alike, same, strict=True) if not is_same]
            wanted = [*plan.new, *changed]
            _all(pool, self._send_whole, [file for file in wanted if file.size <= PART])
            for file in wanted:
                if file.size > PART:
                    self._send_in_parts(file, pool)
        return wanted

    def _listed(self, prefix: str) -> Iterable[RemoteObject]:
        with told(f"listing s3://{self._bucket}/{prefix}", self._region):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{prefix}/" if prefix else ""
            )
            return [
                RemoteObject(item["Key"], item["Size"], item["ETag"].strip('"'))
                for page in pages
                for item in page.get("Contents", ())
            ]

    def _is(self, file: LocalFile, there: RemoteObject) -> bool:
        """Whether the object has the file's content: by its ETag, or by the checksum it was sent with."""
        whole = hashlib.md5(usedforsecurity=False)
        parts = []
        for part in parts_of(file.size):
            content = _read(file, part)
            whole.update(content)
            parts.append(PartDigest.of(content))
        if there.etag not in etags_of(parts, whole.digest()) and not self._has_checksum(file.key, checksum_of(parts)):
            return False
        self._progress.done(file.size, sent=False)
        return True

    def _has_checksum(self, key: str, checksum: str) -> bool:
        with told(f"looking at s3://{self._bucket}/{key}", self._region):
            answer = self._s3.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        return str(answer.get("ChecksumSHA256", "")).partition("-")[0] == checksum

    def _send_whole(self, file: LocalFile) -> None:
        content = _read(file, Part(1, 0, file.size))
        self._put(file.key, content)
        self._progress.done(file.size, sent=True)

    def _send_in_parts(self, file: LocalFile, pool: ThreadPoolExecutor) -> None:
        where = {"Bucket": self._bucket, "Key": file.key}
        with told(f"sending s3://{self._bucket}/{file.key}", self._region):
            upload, there = self._begun(file.key)
            if upload is None:
                upload = self._s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]
            parts = [(file, part, upload, there.get(part.number)) for part in parts_of(file.size)]
            sent = _all(pool, lambda each: self._send_part(*each), parts)
            self._s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": sent})

    def _begun(self, key: str) -> tuple[str | None, Mapping[int, Mapping[str, Any]]]:
        """The upload of this key that was begun last and not ended, and its parts by number."""
        try:
            pages = self._s3.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=key)
            begun = [item for page in pages for item in page.get("Uploads", ()) if item["Key"] == key]
            if not begun:
                return None, {}
            upload = max(begun, key=lambda item: item["Initiated"])["UploadId"]
            parts = self._s3.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload)
            return upload, {item["PartNumber"]: item for page in parts for item in page.get("Parts", ())}
        except ClientError as error:
            # Ended meanwhile; and some servers say so where there is none.
            if code_of(error) == "NoSuchUpload":
                return None, {}
            raise

    def _send_part(
        self, file: LocalFile, part: Part, upload: str, there: Mapping[str, Any] | None
    ) -> Mapping[str, object]:
        content = _read(file, part)
        digest = PartDigest.of(content)
        if there and there["Size"] == part.size:
            etag = there["ETag"].strip('"')
            if digest.is_of(etag, there.get("ChecksumSHA256")):
                self._progress.done(part.size, sent=False)
                return _completed(part, there)
        answer = self._s3.upload_part(
            Bucket=self._bucket,
            Key=file.key,
            UploadId=upload,
            PartNumber=part.number,
            Body=content,
            ChecksumSHA256=digest.checksum,
        )
        self._progress.done(part.size, sent=True)
        return _completed(part, answer)


def _completed(part: Part, answer: Mapping[str, Any]) -> Mapping[str, object]:
    checksum = {"ChecksumSHA256": answer["ChecksumSHA256"]} if answer.get("ChecksumSHA256") else {}
    return {"PartNumber": part.number, "ETag": answer["ETag"], **checksum}


def _read(file: LocalFile, part: Part) -> bytes:
    """A piece of a file that is as it was when it was listed. Raises MachineCannot."""
    try:
        with file.path.open("rb") as stream:
            stream.seek(part.offset)
            content = stream.read(part.size)
            stat = file.path.stat()
    except OSError as error:
        raise MachineCannot(f"{file.path}: cannot be read: {error.strerror}") from None
    if (stat.st_size, stat.st_mtime_ns) != (file.size, file.modified_ns) or len(content) != part.size:
        raise MachineCannot(f"{file.path}: changed while it was sent. Push again once nobody writes there")
    return content


def _all(pool: ThreadPoolExecutor, task: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """What each comes to, in order. Once one fails those that have not begun never do, and its error is raised."""
    futures = [pool.submit(task, item) for item in items]
    ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
    if any(future.exception() for future in ended):
        for future in futures:
            future.cancel()
    return [future.result() for future in futures if not future.cancelled()]
