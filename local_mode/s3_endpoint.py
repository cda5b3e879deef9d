"""The port to objects over obstore. The only module that says `import obstore`, and the only one that talks to S3."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from local_mode.buckets import Endpoint
from local_mode.object_store import CHUNK, InputRefused, ObjectVanished, S3Object, is_path
from training_job.errors import MachineCannot

_ASKING: Any = {"timeout": timedelta(seconds=30), "connect_timeout": timedelta(seconds=4)}
_ASKING_AGAIN: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
# A content takes as long as it takes; only one that stands still is given up, and asked for again from there on.
_READING: Any = _ASKING | {"timeout": timedelta(days=7), "read_timeout": timedelta(seconds=30)}
_WRITING: Any = _ASKING | {"timeout": timedelta(hours=1)}
_MOVING_AGAIN: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
_PARTS = 9000
"""Under S3's 10,000 parts of an upload."""
_FEW = 8
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>(?:\s*<Message>([^<]*))?")
_CREDENTIALS = "Look at AWS_ACCESS_KEY_ID, AWS_PROFILE, or sign in again: aws sso login"


class EndpointStore:
    """The objects of a bucket behind an S3 endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.identity = endpoint.url or "aws"

    def listed(self, prefix: str) -> list[S3Object]:
        """Every object whose key begins with `prefix`."""
        parent, separator, last = prefix.rpartition("/")
        with self._told(self.uri(prefix)):
            if separator and not is_path(parent):
                return self._listed_by_boto3(prefix)
            try:
                found = self._alike(parent, prefix) if last else self._below([parent])
            except InvalidPathError:
                return self._listed_by_boto3(prefix)
            # obstore drops the / that ends a folder's own key, so an empty object may be one; only S3 itself knows.
            empty = [item for item in found if not item.size]
            if len(empty) > _FEW:
                return self._listed_by_boto3(prefix)
            return sorted({*found} - {item for item in empty if not self._is_empty_object(item.key)})

    def find(self, key: str) -> S3Object | None:
        """The object of this very key."""
        with self._told(self.uri(key)):
            try:
                return _object(obstore.head(self._reading, key))
            except FileNotFoundError:
                return None

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        """The content, if it still has the ETag it was listed with."""
        asked: Any = {"if_match": f'"{found.etag}"'} if found.etag else None
        with self._told(self.uri(found.key)):
            try:
                answer = obstore.get(self._reading, found.key, options=asked)
            except (FileNotFoundError, PreconditionError):
                self._check_key(found.key)
                raise ObjectVanished(self.uri(found.key)) from None
            # Not every S3 server heeds If-Match.
            if _etag(answer.meta) != found.etag or answer.meta["size"] != found.size:
                raise ObjectVanished(self.uri(found.key))
            for piece in answer.stream(min_chunk_size=CHUNK):
                yield bytes(piece)

    def file(self, found: S3Object) -> Path | None:  # noqa: ARG002 - the port's
        """None: it lies elsewhere."""
        return None

    def write(self, key: str, source: Path) -> None:
        """Upload a file, in parts where it is large; S3 shows it when it is whole."""
        part = max(8 << 20, source.stat().st_size // _PARTS)
        with self._told(self.uri(key)):
            if not is_path(key):
                raise ValueError(key)
            obstore.put(self._writing, key, source, chunk_size=part)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects."""
        with self._told(self.uri("")):
            obstore.delete(self._asking, keys)

    def uri(self, key: str) -> str:
        """The key's URI."""
        return f"s3://{self._endpoint.bucket}/{key}"

    @cached_property
    def _asking(self) -> S3Store:
        return _connect(self._endpoint, _ASKING, _ASKING_AGAIN)

    @cached_property
    def _reading(self) -> S3Store:
        return _connect(self._endpoint, _READING, _MOVING_AGAIN)

    @cached_property
    def _writing(self) -> S3Store:
        return _connect(self._endpoint, _WRITING, _MOVING_AGAIN)

    def _alike(self, parent: str, prefix: str) -> list[S3Object]:
        """What begins alike: obstore lists whole folders, but to S3 `train` is also `train.csv` and `train-01/`."""
        here: Any = obstore.list_with_delimiter(self._asking, parent or None)
        below = self._below(folder for folder in here["common_prefixes"] if folder.startswith(prefix))
        return [*below, *(_object(entry) for entry in here["objects"] if entry["path"].startswith(prefix))]

    def _below(self, folders: Iterable[str]) -> list[S3Object]:
        return [
            _object(entry)
            for folder in folders
            for page in obstore.list(self._asking, prefix=folder or None, chunk_size=1000)
            for entry in page
        ]

    def _is_empty_object(self, key: str) -> bool:
        try:
            return obstore.head(self._asking, key)["size"] == 0
        except FileNotFoundError:
            return False

    def _listed_by_boto3(self, prefix: str, most: int | None = None) -> list[S3Object]:
        """The same list, or its first `most`, from the slower client, which knows keys that obstore cannot say."""
        # Slow to import, and seldom needed.
        from boto3 import Session  # type: ignore[import-untyped] # noqa: PLC0415
        from botocore import exceptions  # type: ignore[import-untyped] # noqa: PLC0415
        from botocore.config import Config  # type: ignore[import-untyped] # noqa: PLC0415

        try:
            client = Session().client(
                "s3",
                endpoint_url=_url(self._endpoint),
                region_name=self._endpoint.region,
                config=Config(connect_timeout=4, read_timeout=30, s3={"addressing_style": "path"}),
            )
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._endpoint.bucket, Prefix=prefix, PaginationConfig={"MaxItems": most}
            )
            return sorted(
                S3Object(entry["Key"], entry["Size"], entry["ETag"].strip('"'), _nanoseconds(entry["LastModified"]))
                for page in pages
                for entry in page.get("Contents", ())
                if entry["Size"] or not entry["Key"].endswith("/")
            )
        except exceptions.NoCredentialsError:
            raise _NoCredentials(_NOBODY) from None
        except exceptions.ConnectionError as error:
            raise self._unreached(self.uri(prefix), f" ({error})") from None
        except (exceptions.BotoCoreError, exceptions.ClientError) as error:
            answer = getattr(error, "response", {})
            if answer.get("Error", {}).get("Code") == "NoSuchBucket":
                raise self._no_bucket(self.uri(prefix), "") from None
            if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in (400, 401, 403):
                raise self._denied(self.uri(prefix), f" ({error})") from None
            raise self._no_s3(self.uri(prefix), f" ({error})") from None

    def _check_key(self, key: str) -> None:
        """Raises InputRefused where what was listed is key/ or /key, which obstore shows without the slash."""
        for real in (f"{key}/", f"/{key}"):
            if any(item.key == real for item in self._listed_by_boto3(real, most=1)):
                raise InputRefused(f"{self.uri(real)}: {_UNSPEAKABLE}")

    @contextmanager
    def _told(self, uri: str) -> Iterator[None]:
        """obstore's errors as ours."""
        try:
            yield
        except _NoCredentials as error:
            raise MachineCannot(f"{uri}: {error}. {_CREDENTIALS}") from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise self._denied(uri, _said(error)) from None
        except FileNotFoundError as error:
            raise self._no_bucket(uri, _said(error)) from None
        except ValueError as error:
            raise InputRefused(f"{uri}: {_UNSPEAKABLE} ({error})") from None
        except BaseError as error:
            status = _STATUS.search(str(error))
            if status and status[1] == "404":
                raise self._no_bucket(uri, _said(error)) from None
            if status and status[1] in ("400", "401", "403"):
                raise self._denied(uri, _said(error)) from None
            if "incorrectly configured region" in str(error):
                raise MachineCannot(f"{uri}: the bucket is not in {self._endpoint.region}. {_REGION}") from None
            if "HTTP error" in str(error):
                raise self._unreached(uri, _said(error)) from None
            raise self._no_s3(uri, _said(error)) from None

    def _denied(self, uri: str, said: str) -> MachineCannot:
        return MachineCannot(f"{uri}: access denied by {self._endpoint.where}{said}. {_CREDENTIALS}")

    def _no_bucket(self, uri: str, said: str) -> InputRefused:
        return InputRefused(f"{uri}: {self._endpoint.where} has no such bucket{said}. Correct its name, or create it")

    def _unreached(self, uri: str, said: str) -> MachineCannot:
        return MachineCannot(f"{uri}: {self._endpoint.where} cannot be reached{said}. {_ADDRESS}")

    def _no_s3(self, uri: str, said: str) -> MachineCannot:
        return MachineCannot(f"{uri}: {self._endpoint.where} does not answer as S3 does{said}. {_ADDRESS}")


class _NoCredentials(Exception):
    """There are none, or they cannot be used."""


_ADDRESS = "Look whether it runs, and at its address: endpoint in homeport.toml, or AWS_ENDPOINT_URL_S3"
_NOBODY = "there are no AWS credentials here"
_UNSPEAKABLE = (
    "no file can have this key: it holds an empty part, . or .., a control character, or begins or ends with /"
)
_REGION = "Name the right one with HOMEPORT_REGION, or [cloud] region in homeport.toml"


def _connect(endpoint: Endpoint, client: dict[str, Any], again: dict[str, Any]) -> S3Store:
    """A client with the credentials of the environment, else of the AWS profile, SSO session or role in force."""
    url = _url(endpoint)
    # By this name, since obstore takes AWS_ENDPOINT_URL_S3 over its `endpoint`.
    config: dict[str, Any] = {"region": endpoint.region, "aws_endpoint_url_s3": url}
    client = client | {"allow_http": url.startswith("http://")}
    if (bundle := os.environ.get("AWS_CA_BUNDLE")) and url.startswith("https://"):
        client["root_certificate"] = _read(Path(bundle))
    arguments: dict[str, Any] = {"config": config, "client_options": client, "retry_config": again}
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        arguments["credential_provider"] = _profile_credentials()
    return S3Store(endpoint.bucket, **arguments)


def _read(bundle: Path) -> bytes:
    try:
        return bundle.read_bytes()
    except OSError as error:
        raise MachineCannot(f"AWS_CA_BUNDLE: {bundle} cannot be read: {error.strerror}") from None


def _url(endpoint: Endpoint) -> str:
    china = ".cn" if endpoint.region.startswith("cn-") else ""
    return endpoint.url or f"https://s3.{endpoint.region}.amazonaws.com{china}"


def _profile_credentials() -> Any:
    # Slow to import, and not needed where the environment holds keys.
    from boto3 import Session  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped] # noqa: PLC0415
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415

    try:
        session = Session()
        if session.get_credentials() is None:
            raise _NoCredentials(_NOBODY)
        return Boto3CredentialProvider(session)
    except BotoCoreError as error:
        raise _NoCredentials(f"the AWS credentials cannot be used: {error}") from None


def _object(entry: Any) -> S3Object:
    return S3Object(entry["path"], entry["size"], _etag(entry), _nanoseconds(entry["last_modified"]))


def _nanoseconds(moment: datetime) -> int:
    """Since 1970. S3 tells milliseconds, which a float of seconds does not hold exactly."""
    return int(moment.timestamp() * 1000) * 1_000_000


def _etag(entry: Any) -> str:
    """The tag without its quotes, which not every S3 server writes in a list."""
    return (entry["e_tag"] or "").strip('"')


def _said(error: Exception) -> str:
    """S3's own words in an answer, else the client's last ones."""
    text = str(error)
    if code := _CODE.search(text):
        return f" ({code[1]}{': ' + code[2] if code[2] else ''})"
    return f" ({text.splitlines()[0].rpartition(' - ')[2].rstrip(' :')})"
