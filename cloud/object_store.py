"""Sending small objects, fast. The only module of the cloud that says `import obstore`."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from cloud.aws import ONLY_LOOPBACK, Aws, refuse_elsewhere
from training_job.errors import AccountCannot

_WRITING: Any = {"timeout": timedelta(minutes=10), "connect_timeout": timedelta(seconds=10)}
_AGAIN: Any = {"max_retries": 8, "retry_timeout": timedelta(minutes=3)}

Put = Callable[[str, bytes], None]
"""Make a content the object of a key, whole or not at all. Raises AccountCannot."""


def putting_to(aws: Aws, bucket: str) -> Put:
    """Objects are sent with their SHA-256, which S3 compares with what it received, and keeps."""
    endpoint = aws("s3").meta.endpoint_url
    if os.environ.get(ONLY_LOOPBACK):
        refuse_elsewhere(_Request("PUT", endpoint))
    config: Any = {"region": aws.region, "aws_endpoint_url_s3": endpoint, "aws_checksum_algorithm": "sha256"}
    store = S3Store(
        bucket,
        config=config,
        client_options=_WRITING | {"allow_http": endpoint.startswith("http://")},
        retry_config=_AGAIN,
        credential_provider=aws.credential_provider(),
    )

    def put(key: str, content: bytes) -> None:
        try:
            obstore.put(store, key, content, use_multipart=False)
        except (BaseError, ValueError) as error:
            raise AccountCannot(f"s3://{bucket}/{key}: cannot be written: {error}") from None

    return put


class _Request:
    """What the guard looks at."""

    def __init__(self, method: str, url: str) -> None:
        self.method = method
        self.url = url
