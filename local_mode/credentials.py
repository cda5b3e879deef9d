"""AWS credentials for a job's containers, as SageMaker gives them: at http://169.254.170.2, when they are asked for.

What is lent is in this process, in the engine's stream to the endpoint beside each host, and in that endpoint's answer;
never on a disk, a command line, in an environment, a plan or a log.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from local_mode.aws_identity import Lent, NoCredentials
from local_mode.engine import Companion, Host, Program
from training_job.errors import MachineCannot

Borrow = Callable[[], Lent]
Says = Callable[[str], None]
_ASKED = b"ask"
_AGAIN_AFTER = timedelta(seconds=5)
"""How long a failure is the answer: all ranks of a job ask at once, each three times."""


class Lender:
    """Answers whoever asks, all with the same credentials, renewed when half of their time has passed."""

    def __init__(self, borrow: Borrow, says: Says, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._borrow = borrow
        self._says = says
        self._now = now
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._lent: Lent | None = None
        self._answer = b""
        self._until = datetime.min.replace(tzinfo=UTC)

    def answer(self) -> bytes:
        """An HTTP status, a space, and the JSON document that an SDK expects with it."""
        with self._lock:
            if self._now() >= self._until:
                self._renew()
            return self._answer

    def tell(self, text: str) -> None:
        """Tell the user, once."""
        if text not in self._told:
            self._told.add(text)
            self._says(text)

    def _renew(self) -> None:
        try:
            lent = self._borrow()
        except NoCredentials as error:
            now = self._now()
            self._until = now + _AGAIN_AFTER
            if not self._lent or self._lent.expiration <= now:
                self._answer = b"500 " + _json(code="NoCredentials", message=str(error))
            self.tell(str(error))
            return
        now = self._now()
        self._lent, self._until = lent, now + (lent.expiration - now) / 2
        self._answer = b"200 " + _document(lent)
        self.tell(f"AWS credentials lent to the job, which asked for some: {lent.whose}")


class Lending:
    """An endpoint beside each host that is served, all gone on exit."""

    def __init__(self, uri: str | None, lender: Lender) -> None:
        self._uri = uri
        self._lender = lender
        self._lock = threading.Lock()
        self._open: list[Companion] = []
        self._threads: list[threading.Thread] = []
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ended = True
        enders = [threading.Thread(target=companion.end) for companion in self._open]
        for ender in enders:
            ender.start()
        for thread in (*enders, *self._threads):
            thread.join()

    def serve(self, host: Host) -> None:
        """Serve a host that has just started. Returns at once; it takes a moment, in which SDKs ask again."""
        if self._uri is not None:
            thread = threading.Thread(target=self._serve, args=(host, _program(self._uri)), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, host: Host, program: Program) -> None:
        try:
            with host.companion(program) as companion:
                with self._lock:
                    if self._ended:
                        return
                    self._open.append(companion)
                for line in companion.lines():
                    if line == _ASKED:
                        companion.tell(self._lender.answer())
        except MachineCannot as error:
            if not self._ended:
                self._lender.tell(f"no AWS credentials in the containers: {error}")


def _program(uri: str) -> Program:
    text = Path(__file__).with_name("credentials_endpoint.py").read_text(encoding="utf-8")
    return Program("credentials", text, (uri,))


def _document(lent: Lent) -> bytes:
    """What ECS answers, and SageMaker: every SDK reads these names."""
    return _json(
        RoleArn=lent.role_arn,
        AccessKeyId=lent.access_key_id,
        SecretAccessKey=lent.secret_access_key,
        Token=lent.token,
        Expiration=lent.expiration.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _json(**members: str) -> bytes:
    return json.dumps(members).encode()
