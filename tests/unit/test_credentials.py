"""What a job's containers are lent, for how long, and what is said when there is nothing to lend."""

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from local_mode import credentials_endpoint
from local_mode.aws_identity import Lent, NoCredentials, may_be_here
from local_mode.credentials import Lender, Lending
from local_mode.lending import VARIABLE, relative_uri
from local_mode.plan import Options, plan_run
from local_mode.runner import run_plan
from tests.fakes import (
    LAPTOP,
    NOW,
    REGION,
    FakeEngine,
    FakeHost,
    Notes,
    Script,
    a_job,
    a_place,
    a_plan,
)
from training_job.errors import MachineCannot

HOUR = timedelta(hours=1)
NONE = NoCredentials("the session has expired", "aws sso login --profile dev")


def lent(number: int = 1, end: datetime = NOW + HOUR) -> Lent:
    return Lent(f"ASIA{number}", "a secret", "a token", end, "arn:aws:iam::1:role/dev", "profile dev")


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Source:
    """Somebody's credentials: the next of what is to come, at each look."""

    def __init__(self, *found: Lent | NoCredentials) -> None:
        self._found = list(found)
        self.looks = 0

    def __call__(self) -> Lent:
        self.looks += 1
        found = self._found.pop(0)
        if isinstance(found, NoCredentials):
            raise found
        return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def lender(clock: Clock, said: list[str]) -> Callable[[Source], Lender]:
    return lambda source: Lender(source, said.append, clock)


def answered(answer: bytes) -> tuple[str, dict[str, Any]]:
    status, _, document = answer.decode().partition(" ")
    return status, json.loads(document)


def test_an_answer_is_the_document_that_sdks_read(lender: Callable[[Source], Lender]) -> None:
    assert answered(lender(Source(lent())).answer()) == (
        "200",
        {
            "RoleArn": "arn:aws:iam::1:role/dev",
            "AccessKeyId": "ASIA1",
            "SecretAccessKey": "a secret",
            "Token": "a token",
            "Expiration": "2026-11-21T11:15:30Z",
        },
    )


def test_nothing_is_looked_up_before_it_is_asked_for(lender: Callable[[Source], Lender], said: list[str]) -> None:
    source = Source()

    lender(source)

    assert (source.looks, said) == (0, [])


def test_all_who_ask_get_the_same_until_half_of_its_time_has_passed(
    lender: Callable[[Source], Lender], clock: Clock
) -> None:
    source = Source(lent(1), lent(2, NOW + 2 * HOUR))
    asked = lender(source)

    keys = []
    for minutes in (0, 29, 30, 59):
        clock.now = NOW + timedelta(minutes=minutes)
        keys.append(answered(asked.answer())[1]["AccessKeyId"])

    assert keys == ["ASIA1", "ASIA1", "ASIA2", "ASIA2"]
    assert source.looks == 2


def test_what_is_short_is_fetched_again_when_it_has_ended(lender: Callable[[Source], Lender], clock: Clock) -> None:
    asked = lender(Source(lent(1, NOW + timedelta(seconds=3)), lent(2)))
    asked.answer()

    clock.now += timedelta(seconds=4)

    assert answered(asked.answer())[1]["AccessKeyId"] == "ASIA2"


def test_without_credentials_the_sdk_and_the_user_hear_what_to_do(
    lender: Callable[[Source], Lender], said: list[str]
) -> None:
    status, document = answered(lender(Source(NONE)).answer())

    assert status == "500"
    assert document["code"] == "NoCredentials"
    assert document["message"].endswith("the session has expired. aws sso login --profile dev")
    assert said == [document["message"]]


def test_a_failure_is_asked_about_again_after_some_seconds_and_told_once(
    lender: Callable[[Source], Lender], clock: Clock, said: list[str]
) -> None:
    source = Source(NONE, NONE, lent())
    asked = lender(source)

    statuses = []
    for seconds in (0, 1, 4, 6, 12):
        clock.now = NOW + timedelta(seconds=seconds)
        statuses.append(answered(asked.answer())[0])

    assert statuses == ["500", "500", "500", "500", "200"]
    assert source.looks == 3
    assert said == [str(NONE), "AWS credentials lent to the job, which asked for some: profile dev"]


def test_what_was_lent_is_lent_on_while_it_lasts_and_no_other_can_be_had(
    lender: Callable[[Source], Lender], clock: Clock, said: list[str]
) -> None:
    asked = lender(Source(lent(), NONE, NONE))
    asked.answer()

    clock.now = NOW + timedelta(minutes=40)
    while_it_lasts = answered(asked.answer())
    clock.now = NOW + timedelta(minutes=61)
    after = answered(asked.answer())

    assert (while_it_lasts[0], while_it_lasts[1]["AccessKeyId"]) == ("200", "ASIA1")
    assert after[0] == "500"
    assert said[1:] == [str(NONE)]


def test_a_secret_does_not_show_in_what_is_printed() -> None:
    assert "a secret" not in repr(lent())
    assert "a token" not in repr(lent())


@pytest.fixture
def host() -> Callable[..., FakeHost]:
    def host(**script: Any) -> FakeHost:
        plan = a_plan(Path("/home"))
        return FakeHost(FakeEngine(), plan.hosts[0], Script(**script))

    return host


def test_every_question_of_an_endpoint_is_answered(
    host: Callable[..., FakeHost], lender: Callable[[Source], Lender]
) -> None:
    served = host(asks=2)

    with Lending("/v2/credentials/x", lender(Source(lent()))) as lending:
        lending.serve(served)
        companion = served.companions.get(timeout=10)
        answers = [answered(companion.heard.get(timeout=10))[0] for _ in range(2)]

    assert answers == ["200", "200"]
    assert companion.program.arguments == ("/v2/credentials/x",)


def test_where_no_endpoint_can_be_had_it_is_said_once(
    host: Callable[..., FakeHost], lender: Callable[[Source], Lender], said: list[str]
) -> None:
    with Lending("/v2/credentials/x", lender(Source())) as lending:
        for _ in range(3):
            lending.serve(host(refuses_a_companion=MachineCannot("no python3")))

    assert said == ["no AWS credentials in the containers: no python3"]


def test_a_job_that_is_lent_none_has_nothing_beside_it(
    host: Callable[..., FakeHost], lender: Callable[[Source], Lender]
) -> None:
    served = host()

    with Lending(None, lender(Source())) as lending:
        lending.serve(served)

    assert served.companions.empty()


def test_the_endpoints_are_gone_before_the_hosts_are(tmp_path: Path) -> None:
    engine = FakeEngine()

    run_plan(a_plan(tmp_path, a_job(hosts=2), credentials=True), engine, Notes(), SimpleQueue())

    for name in ("algo-1", "algo-2"):
        assert engine.events.index(f"-beside {name}") < engine.events.index(f"-{name}")
    assert engine.left == []


def test_the_variable_is_the_jobs_own_path_and_the_same_twice(tmp_path: Path) -> None:
    first, second = (a_plan(tmp_path, credentials=True) for _ in range(2))

    assert first == second
    assert first.credentials
    assert first.credentials.startswith("/v2/credentials/")
    assert first.hosts[0].environment[VARIABLE] == first.credentials
    assert first.credentials != relative_uri(a_job(TrainingJobName="another"), REGION)


@pytest.mark.parametrize(
    "environment",
    [{"AWS_ACCESS_KEY_ID": "AKIA"}, {VARIABLE: "/mine"}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://"}],
)
def test_a_job_that_brings_its_own_credentials_keeps_them(tmp_path: Path, environment: dict[str, str]) -> None:
    plan = a_plan(tmp_path, a_job(Environment=environment), credentials=True)

    assert plan.credentials is None
    assert {name: value for name, value in plan.hosts[0].environment.items() if name in environment} == environment


def test_an_isolated_job_is_lent_none(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, a_job(EnableNetworkIsolation=True), credentials=True)

    assert plan.credentials is None
    assert VARIABLE not in plan.hosts[0].environment


def test_a_place_may_forbid_it(tmp_path: Path) -> None:
    place = replace(a_place(tmp_path), credentials=False)

    assert plan_run(a_job(), LAPTOP, place, Options(credentials=True)).credentials is None


@pytest.fixture(autouse=True)
def vendor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Who made this machine: nobody, until a test writes it there."""
    vendor = tmp_path / "sys_vendor"
    monkeypatch.setattr("local_mode.aws_identity._VENDOR", vendor)
    return vendor


def test_a_machine_without_any_setting_of_aws_has_none(tmp_path: Path) -> None:
    assert not may_be_here({"HOME": "/root"}, tmp_path)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_a_variable_may_lead_to_credentials(tmp_path: Path, name: str) -> None:
    assert may_be_here({name: "x"}, tmp_path)


@pytest.mark.parametrize("name", ["config", "credentials"])
def test_a_file_may_hold_credentials(tmp_path: Path, name: str) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / name).touch()

    assert may_be_here({}, tmp_path)


def test_an_instance_may_have_a_role(tmp_path: Path, vendor: Path) -> None:
    vendor.write_text("Amazon EC2\n")

    assert may_be_here({}, tmp_path)
    assert not may_be_here({"AWS_EC2_METADATA_DISABLED": "true"}, tmp_path)


def test_the_endpoint_is_written_for_the_oldest_python_of_a_sagemaker_image() -> None:
    source = Path(credentials_endpoint.__file__).read_text()

    assert ast.parse(source, feature_version=(3, 6))
    assert "from __future__ import annotations" not in source
