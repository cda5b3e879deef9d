"""What an account's answers say about a job, before it is sent."""

from dataclasses import replace
from typing import Any

import pytest

from cloud.account_answers import Answers, Missing, Mounted, Quota, Subnet, Unknown
from cloud.preflight import Verdict, judge
from tests.fakes import ROLE, a_job, an_fsx_channel, an_s3_channel
from training_job.errors import AccountCannot
from training_job.model import TrainingJob

ID = "fs-0123456789abcdef0"
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
TO_ITSELF = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}]
QUOTA = "ml.m5.xlarge for training job usage"
GOOD = Answers(
    caller="123456789012",
    name=Missing(),
    trust=TRUST,
    quotas={QUOTA: Quota(QUOTA, 2, "L-1")},
    zones={"ml.m5.xlarge": frozenset({"us-west-2a", "us-west-2b"})},
    subnets={
        "subnet-1": Subnet("us-west-2a", "vpc-1"),
        "subnet-fs": Subnet("us-west-2a", "vpc-1"),
        "subnet-b": Subnet("us-west-2b", "vpc-1"),
        "subnet-far": Subnet("us-west-2a", "vpc-2"),
    },
    security_groups=[{"IpPermissions": TO_ITSELF, "IpPermissionsEgress": TO_ITSELF}],
    file_systems={ID: Mounted(("subnet-fs",), "fsx")},
    buckets={"my-bucket": "us-west-2"},
    prefixes={"s3://my-bucket/train": True},
)
VPC = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}


def a_sent_job(**changes: Any) -> TrainingJob:
    inputs = [an_fsx_channel(path="/fsx/train"), an_s3_channel()]
    return a_job(**{"RoleArn": ROLE, "VpcConfig": VPC, "InputDataConfig": inputs} | changes)


def verdict(job: TrainingJob | None = None, **changes: Any) -> Verdict:
    return judge(job or a_sent_job(), replace(GOOD, **changes), region="us-west-2")


def tcp(low: int, high: int) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": low, "ToPort": high, "UserIdGroupPairs": [{"GroupId": "sg-1"}]}


def groups(*rules: dict[str, Any], out: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    return [{"IpPermissions": list(rules), "IpPermissionsEgress": TO_ITSELF if out is None else out}]


def test_an_account_in_which_a_job_can_run_has_no_faults() -> None:
    assert verdict() == Verdict((), ())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "Completed"}, "name job-1: is taken by a job that is Completed"),
        ({"caller": "210987654321"}, "is of account 123456789012, and the credentials are of 210987654321"),
        ({"trust": Missing()}, "is not there: homeport-cloud stack up makes one"),
        ({"trust": {"Statement": []}}, "does not trust sagemaker.amazonaws.com"),
        ({"trust": {"Statement": [TRUST["Statement"][0] | {"Effect": "Deny"}]}}, "does not trust"),
        ({"trust": {"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}}}, "does not trust"),
        ({"quotas": {QUOTA: Quota(QUOTA, 0, "L-9")}}, "is 0 and the job needs 1. Ask for more: aws service-quotas"),
        ({"quotas": {QUOTA: Missing()}}, "us-west-2 has none: SageMaker does not offer that there"),
        ({"zones": {"ml.m5.xlarge": frozenset()}}, "ml.m5.xlarge: is not offered in us-west-2"),
        (
            {"zones": {"ml.m5.xlarge": frozenset({"us-west-2d"})}},
            "is offered in us-west-2d, and the subnets are in us-west-2a",
        ),
        ({"subnets": Missing()}, "subnets subnet-1: one of them is not there"),
        ({"security_groups": Missing()}, "security groups sg-1: one of them is not there"),
        ({"security_groups": groups()}, "let no TCP 988 and 1018-1023 in from themselves, which FSx for Lustre needs"),
        ({"security_groups": groups(tcp(988, 988))}, "let no TCP 1018-1023 in from themselves"),
        ({"security_groups": groups(*TO_ITSELF, out=[])}, "let no TCP 988 and 1018-1023 out to themselves"),
        ({"file_systems": {ID: Missing()}}, f"file system {ID}: is not there"),
        (
            {"file_systems": {ID: Mounted(("subnet-fs",), "abc")}},
            "has the mount name abc, and the path begins with /fsx",
        ),
        (
            {"file_systems": {ID: Mounted(("subnet-b",), "fsx")}},
            "is in us-west-2b and the job's subnets are in us-west-2a",
        ),
        ({"file_systems": {ID: Mounted(("subnet-far",), "fsx")}}, "is in another VPC than the job's subnets"),
        ({"buckets": {"my-bucket": Missing()}}, "bucket my-bucket: is not there"),
        ({"buckets": {"my-bucket": "eu-west-1"}}, "bucket my-bucket: is in eu-west-1, and the job in us-west-2"),
        (
            {"prefixes": {"s3://my-bucket/train": False}},
            "s3://my-bucket/train: nothing is there. Send it: homeport-cloud",
        ),
        ({"image": "image x: is not there. Send it there: homeport-cloud push JOB"}, "homeport-cloud push JOB"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(changes: dict[str, Any], told: str) -> None:
    found = verdict(**changes)

    assert len(found.faults) == 1
    assert told in str(found.faults[0])
    assert not found.unknown


@pytest.mark.parametrize(
    "trust",
    [
        {"Statement": TRUST["Statement"][0]},
        {
            "Statement": [
                TRUST["Statement"][0]
                | {"Principal": {"Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}, "Action": ["sts:*"]}
            ]
        },
    ],
)
def test_a_trust_may_be_written_in_many_ways(trust: dict[str, Any]) -> None:
    assert not verdict(trust=trust).faults


def test_a_rule_for_the_ports_is_enough_for_the_file_system() -> None:
    assert not verdict(security_groups=groups(tcp(988, 988), tcp(1018, 1023))).faults


def test_hosts_of_one_job_must_reach_each_other() -> None:
    job = a_sent_job(ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 2})

    found = verdict(job, security_groups=groups(tcp(988, 988), tcp(1018, 1023)))

    assert "let no TCP 0-65535 in from themselves, which the hosts among each other needs" in str(found.faults[0])


def test_a_spot_job_draws_on_its_own_quota() -> None:
    name = "ml.m5.xlarge for spot training job usage"

    found = verdict(a_sent_job(EnableManagedSpotTraining=True), quotas={name: Quota(name, 0, "L-2")})

    assert f"quota {name!r}: is 0" in str(found.faults[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": Unknown("denied")},
        {"trust": Unknown("denied")},
        {"quotas": {QUOTA: Unknown("denied")}},
        {"zones": {"ml.m5.xlarge": Unknown("denied")}},
        {"subnets": Unknown("denied")},
        {"security_groups": Unknown("denied")},
        {"file_systems": {ID: Unknown("denied")}},
        {"buckets": {"my-bucket": Unknown("denied")}},
        {"prefixes": {"s3://my-bucket/train": Unknown("denied")}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_may_not_be_asked_is_unknown_and_no_fault(changes: dict[str, Any]) -> None:
    found = verdict(**changes)

    assert not found.faults
    assert [fault.what for fault in found.unknown] == ["denied"]


def test_all_faults_are_told_together_and_nothing_was_created() -> None:
    found = verdict(name="InProgress", trust=Missing(), buckets={"my-bucket": Missing()})

    with pytest.raises(AccountCannot) as error:
        found.check("job-1")

    told = str(error.value).splitlines()
    assert told[0] == "job-1 cannot run in this account: 3 faults"
    assert len(told) == 5
    assert told[-1] == "Nothing was created."
