"""The log streams of a job's hosts in CloudWatch, a page at a time.

Streams of a job are called JOB/algo-N-SECONDS, one for each host and each of its starts (developer guide,
logging-cloudwatch). Reading forward, the end is reached when a token comes back unchanged (API: GetLogEvents); the
same token goes on from there for 24 hours.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cloud.aws import Clients
from cloud.aws_errors import ClientError, code_of
from cloud.run_folder import Progress

GROUP = "/aws/sagemaker/TrainingJobs"
_PAGE = 10_000
"""Events that one answer may have at most; or 1 MB of them."""


@dataclass(frozen=True)
class Page:
    """What one answer had: lines with their times in milliseconds, and how to go on."""

    stream: str
    host: str
    lines: tuple[tuple[int, bytes], ...]
    token: str
    last: bool
    """Whether the stream has no more for now."""


def list_streams(clients: Clients, job: str) -> list[str]:
    """The job's streams as they are now; none before its first host has said something. botocore's errors pass."""
    pages = clients("logs").get_paginator("describe_log_streams")
    try:
        return [
            stream["logStreamName"]
            for page in pages.paginate(logGroupName=GROUP, logStreamNamePrefix=f"{job}/")
            for stream in page["logStreams"]
        ]
    except ClientError as error:
        # The group comes with the first job of a region.
        if code_of(error) == "ResourceNotFoundException":
            return []
        raise


def host_of(stream: str) -> str:
    """`algo-1` of `JOB/algo-1-1699307977`."""
    return stream.rpartition("/")[2].rpartition("-")[0]


def read_page(clients: Clients, stream: str, progress: Progress) -> Page:
    """The next page of a stream. botocore's errors pass."""
    token = progress.tokens.get(stream)
    try:
        answer = _events(clients, stream, token)
    except ClientError as error:
        if token is None or code_of(error) != "InvalidParameterException":
            raise
        # A token of yesterday: from the head again, without what is kept.
        return _after_kept(clients, stream, progress.events.get(stream, 0))
    return _page(stream, answer, token)


def merged(pages: Iterable[Page]) -> Iterator[tuple[str, bytes]]:
    """The lines of several hosts by their times; those of one host stay in their order."""
    lines = heapq.merge(
        *([(time, page.host, line) for time, line in page.lines] for page in pages), key=lambda entry: entry[0]
    )
    return ((host, line) for _, host, line in lines)


def _events(clients: Clients, stream: str, token: str | None) -> dict[str, object]:
    more = {"nextToken": token} if token else {}
    answer: dict[str, object] = clients("logs").get_log_events(
        logGroupName=GROUP, logStreamName=stream, startFromHead=True, limit=_PAGE, **more
    )
    return answer


def _after_kept(clients: Clients, stream: str, kept: int) -> Page:
    token: str | None = None
    while True:
        page = _page(stream, _events(clients, stream, token), token)
        if len(page.lines) > kept or page.last:
            return Page(stream, page.host, page.lines[kept:], page.token, page.last)
        kept -= len(page.lines)
        token = page.token


def _page(stream: str, answer: dict[str, object], token: str | None) -> Page:
    events = answer["events"]
    assert isinstance(events, list)
    lines = tuple((int(event["timestamp"]), f"{event['message']}\n".encode()) for event in events)
    after = str(answer["nextForwardToken"])
    return Page(stream, host_of(stream), lines, after, last=after == token)
