"""The port to objects over obstore. The only module that says `import obstore`, and the only one that talks to S3."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import S3Store

from local_mode.buckets import Endpoint
from local_mode.object_store import CHUNK, InputRefused, ObjectVanished, S3Object
from training_job.errors import MachineCannot

_RETRIES: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
_CODE = re.compile(r"<Code>(\w+)</Code>(?:<Message>([^<]*))?")
_INVALID = re.compile(r'[Pp]ath "(.*?)"')


class EndpointStore:
    """The objects of a bucket behind an S3 endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._store = _connect(endpoint)
        self.identity = endpoint.url or "aws"

    def listed(self, prefix: str) -> list[S3Object]:
        """Every object whose key begins with `prefix`."""
        parent, _, last = prefix.rpartition("/")
        with self._told(self.uri(prefix)):
            if not last:
                return self._below([parent])
            # obstore lists whole folders, S3 whatever begins alike: `train` is also `train.csv` and `train-01/`.
            here: Any = obstore.list_with_delimiter(self._store, parent or None)
            alike = [folder for folder in here["common_prefixes"] if folder.startswith(prefix)]
            found = [_object(entry) for entry in here["objects"] if entry["path"].startswith(prefix)]
            return sorted({*found, *self._below(alike)})

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        """The content, if it still has the ETag it was listed with."""
        with self._told(self.uri(found.key)):
            try:
                answer = obstore.get(self._store, found.key, options={"if_match": found.etag})
                for piece in answer.stream(min_chunk_size=CHUNK):
                    yield bytes(piece)
            except (FileNotFoundError, PreconditionError):
                raise ObjectVanished(self.uri(found.key)) from None

    def file(self, found: S3Object) -> Path | None:
        """None: it lies elsewhere."""
        return None

    def write(self, key: str, source: Path) -> None:
        """Upload a file, in parts where it is large; S3 shows it when it is whole."""
        with self._told(self.uri(key)):
            obstore.put(self._store, key, source)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects."""
        with self._told(self.uri("")):
            for key in keys:
                obstore.delete(self._store, key)

    def uri(self, key: str) -> str:
        """The key's URI."""
        return f"s3://{self._endpoint.bucket}/{key}"

    def _below(self, folders: Iterator[str] | Sequence[str]) -> list[S3Object]:
        entries = [
            _object(entry)
            for folder in folders
            for page in obstore.list(self._store, prefix=folder or None, chunk_size=1000)
            for entry in page
        ]
        # obstore drops the / that ends a folder's own key, so an empty object may be one; only S3 itself knows.
        return sorted(entry for entry in entries if entry.size or self._is_object(entry.key))

    def _is_object(self, key: str) -> bool:
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def _told(self, uri: str) -> Iterator[None]:
        """obstore's errors as ours."""
        where = self._endpoint.url or f"S3 in {self._endpoint.region}"
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise MachineCannot(f"{uri}: access denied by {where}{_said(error)}. {_CREDENTIALS}") from None
        except FileNotFoundError as error:
            raise InputRefused(f"{uri}: {where} has no such bucket or key{_said(error)}") from None
        except BaseError as error:
            text = str(error)
            if "invalid path" in text and (key := _INVALID.search(text)):
                raise InputRefused(
                    f"{self.uri(key[1])}: no file can have this key: it holds an empty part, . or .., or begins with /"
                ) from None
            if any(code in text for code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403 ")):
                raise MachineCannot(f"{uri}: access denied by {where}{_said(error)}. {_CREDENTIALS}") from None
            raise MachineCannot(f"{uri}: {where} does not answer as S3 does{_said(error)}") from None


_CREDENTIALS = "Look at AWS_ACCESS_KEY_ID, AWS_PROFILE, or sign in again: aws sso login"


def _connect(endpoint: Endpoint) -> S3Store:
    """A client with the credentials of the environment, else of the AWS profile, SSO session or role in force."""
    config: dict[str, Any] = {"region": endpoint.region}
    client: dict[str, Any] = {"timeout": timedelta(minutes=10), "connect_timeout": timedelta(seconds=5)}
    if endpoint.url:
        config["endpoint"] = endpoint.url.rstrip("/")
        client["allow_http"] = endpoint.url.startswith("http://")
    arguments: dict[str, Any] = {"config": config, "client_options": client, "retry_config": _RETRIES}
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        arguments["credential_provider"] = _profile_credentials()
    return S3Store(endpoint.bucket, **arguments)


def _profile_credentials() -> Any:
    # Slow to import, and not needed where the environment holds keys.
    from boto3 import Session  # type: ignore[import-untyped] # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped] # noqa: PLC0415
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415

    try:
        session = Session()
        if session.get_credentials() is None:
            raise MachineCannot(f"there are no AWS credentials here. {_CREDENTIALS}")
        return Boto3CredentialProvider(session)
    except BotoCoreError as error:
        raise MachineCannot(f"the AWS credentials cannot be used: {error}. {_CREDENTIALS}") from None


def _object(entry: Any) -> S3Object:
    modified_ns = int(entry["last_modified"].timestamp() * 1000) * 1_000_000
    return S3Object(entry["path"], entry["size"], entry["e_tag"] or "", modified_ns)


def _said(error: Exception) -> str:
    """S3's own words in an answer, else the first line of the client's."""
    text = str(error)
    if code := _CODE.search(text):
        return f" ({code[1]}{': ' + code[2] if code[2] else ''})"
    return f" ({text.splitlines()[0]})"
