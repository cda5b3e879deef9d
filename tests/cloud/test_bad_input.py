"""What keeps a job from being sent: one clear message each, all together, and nothing was created."""

import json
import os
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloud.__main__ import main
from cloud.aws import Aws
from tests.cloud.conftest import JOB, REGION, Cloud, StandInAccount, a_stack
from tests.cloud.sagemaker_front import Fault, Front, Job
from training_job.errors import AccountCannot

SSO = """
[default]
sso_session = mine
sso_account_id = 123456789012
sso_role_name = Trainer
[sso-session mine]
sso_region = us-east-1
sso_start_url = https://example.awsapps.com/start
"""
CREATING = ("CreateTrainingJob", "s3.PUT", "s3.POST")


@pytest.fixture
def fails(train: Cloud, front: Front, folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """`fails(addition, *flags, code=3)`: what is said of a job that is not sent."""

    def fails(addition: str = "", *flags: str, code: int = 3) -> str:
        front.asked.clear()
        assert train(addition, *flags) == code
        assert not [operation for operation in front.asked if operation in CREATING]
        assert not (folder / "runs").exists()
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    return fails


def no_keys(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))


def test_no_credentials(fails: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    no_keys(monkeypatch, Path("/nowhere"))

    assert "asking AWS who this is: no AWS credentials" in fails()


def test_an_expired_sso_session(fails: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config").write_text(SSO)
    no_keys(monkeypatch, folder / "config")
    monkeypatch.setenv("HOME", str(folder))

    said = fails()

    assert "asking AWS who this is: " in said
    assert "Sign in: aws sso login" in said


def test_expired_keys(fails: Any, front: Front) -> None:
    front.expired.add("AKIATEST")

    assert "asking AWS who this is: the AWS credentials have expired. Sign in: aws sso login" in fails()


def test_keys_that_nobody_knows(fails: Any, front: Front) -> None:
    front.faults = [Fault("GetCallerIdentity", "InvalidClientTokenId", times=9)]

    assert "AWS does not know the credentials (InvalidClientTokenId)" in fails()


def test_a_profile_that_is_not_there(fails: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "typo")

    assert "AWS: The config profile (typo) could not be found" in fails()


def test_a_region_without_an_address(fails: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("cloud.aws._RETRIES", None)

    said = fails()

    assert f"AWS does not answer in {REGION}" in said
    assert "region in [cloud] of homeport.toml" in said


def test_a_stack_that_is_not_there(fails: Any, folder: Path) -> None:
    (folder / "homeport.toml").write_text(f'[cloud]\nregion = "{REGION}"\nstack = "typo"\n')

    assert f"stack typo: there is none in {REGION}. Make it: homeport-cloud stack up" in fails()


def test_a_stack_without_an_output(fails: Any, account: StandInAccount, folder: Path) -> None:
    a_stack(account, "lacking", without="RoleArn")
    (folder / "homeport.toml").write_text(f'[cloud]\nregion = "{REGION}"\nstack = "lacking"\n')

    assert f"stack lacking in {REGION} has no output RoleArn. Bring it up to date: homeport-cloud stack up" in fails()


def test_a_role_that_is_not_there(fails: Any) -> None:
    said = fails('role = "arn:aws:iam::123456789012:role/Nobody"\n')

    assert "role arn:aws:iam::123456789012:role/Nobody: is not there" in said


def test_a_role_without_trust(fails: Any, account: StandInAccount) -> None:
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    role = account.client("iam").create_role(RoleName="Distrusted", AssumeRolePolicyDocument=json.dumps(policy))

    assert "does not trust sagemaker.amazonaws.com" in fails(f'role = "{role["Role"]["Arn"]}"\n')
    account.client("iam").delete_role(RoleName="Distrusted")


def test_no_quota(fails: Any, front: Front) -> None:
    front.quotas["ml.m5.xlarge for training job usage"] = 0

    said = fails()

    assert (
        "quota 'ml.m5.xlarge for training job usage': is 0 and the job needs 1. Ask for more: aws service-quotas"
        in said
    )
    assert "--quota-code L-1234 --desired-value 1 --region us-west-2" in said


def test_a_name_that_is_taken(fails: Any, front: Front) -> None:
    front.jobs["job-1"] = Job({}, {"TrainingJobStatus": "Completed"})

    assert "name job-1: is taken by a job that is Completed; give another with --name" in fails()


def test_an_image_that_is_not_in_the_registry(fails: Any, account: StandInAccount) -> None:
    missing = account.image.partition("@")[0] + ":gone"

    assert f"image {missing}: account 123456789012 has no such image in us-west-2" in fails(
        "", "--set", f"image={missing}"
    )


def test_an_instance_type_that_the_region_does_not_offer(fails: Any) -> None:
    said = fails("", "--instance-type", "ml.p6e-gb200.36xlarge")

    assert f"ml.p6e-gb200.36xlarge: is not offered in {REGION}" in said


def test_a_bucket_that_is_not_there_and_a_prefix_that_is_empty(fails: Any) -> None:
    said = fails('output_path = "s3://nobodys-bucket/out"\ninputs.train = "s3://homeport-bucket/train"\n')

    assert "bucket nobodys-bucket: is not there" in said
    assert "s3://homeport-bucket/train: nothing is there. Send it: homeport-cloud data push" in said


def test_a_bucket_of_another_region(fails: Any) -> None:
    s3 = boto3.Session("AKIAOWNER", "s", region_name="eu-west-1").client(
        "s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]
    )
    s3.create_bucket(Bucket="far-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    assert "bucket far-bucket: is in eu-west-1, and the job in us-west-2" in fails(
        'output_path = "s3://far-bucket/out"\n'
    )


def test_a_network_that_does_not_reach_the_file_system(fails: Any, account: StandInAccount) -> None:
    ec2 = account.client("ec2")
    vpc = ec2.describe_subnets(SubnetIds=[account.subnet])["Subnets"][0]["VpcId"]
    other = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.9.0/24", AvailabilityZone=f"{REGION}b")["Subnet"]["SubnetId"]
    closed = ec2.create_security_group(GroupName="closed", Description="closed", VpcId=vpc)["GroupId"]

    said = fails(f"inputs.train = 'fsx://training-data/a'\nsubnets = ['{other}']\nsecurity_group_ids = ['{closed}']\n")

    assert f"is in {REGION}a and the job's subnets are in {REGION}b: name a subnet of its zone" in said
    assert "let no TCP 988 and 1018-1023 in from themselves, which FSx for Lustre needs" in said
    ec2.delete_subnet(SubnetId=other)
    ec2.delete_security_group(GroupId=closed)


def test_all_faults_at_once(fails: Any, front: Front) -> None:
    front.quotas["ml.m5.xlarge for training job usage"] = 0
    front.jobs["job-1"] = Job({}, {"TrainingJobStatus": "Completed"})

    said = fails('output_path = "s3://nobodys-bucket/out"\n')

    assert "job-1 cannot run in this account: 3 faults" in said
    assert said.rstrip().endswith("Nothing was created.")


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        ("GetRole", "role "),
        ("ListServiceQuotas", "quota 'ml.m5.xlarge for training job usage'"),
        ("DescribeSubnets", "subnets "),
        ("DescribeSecurityGroups", "security groups "),
        ("DescribeInstanceTypeOfferings", "ml.m5.xlarge in us-west-2"),
    ],
)
def test_a_check_that_the_account_denies_is_said_and_hinders_nothing(
    train: Cloud, front: Front, capsys: pytest.CaptureFixture[str], operation: str, told: str
) -> None:
    front.faults = [Fault(operation, "AccessDenied", times=9)]

    assert train() == 0

    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith(f"  {told}") and "not checked: denied" in line]


def test_a_local_directory_is_refused_before_anybody_is_asked_for_it(fails: Any) -> None:
    assert "is on this machine alone. Send it: homeport-cloud data push" in fails("inputs.train = 'file://.'\n", code=2)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("job.toml", JOB.format(image="x") + "instance_cuont = 1", "instance_cuont: is not known here; did you mean"),
        (
            "homeport.toml",
            "[cloud]\nreigon = 'x'",
            "homeport.toml:2 cloud.reigon: is not known here; did you mean 'region'?",
        ),
    ],
)
@pytest.mark.parametrize("command", ["plan", "train"])
def test_a_bad_file_is_told_with_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str], *, command: str, file: str, content: str, told: str
) -> None:
    (folder / "job.toml").write_text(JOB.format(image="x"))
    (folder / file).write_text(content)

    assert main([command, "job.toml"]) == 2

    assert told in capsys.readouterr().err


def test_nothing_but_this_machine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")

    with pytest.raises(AccountCannot, match="HOMEPORT_ONLY_LOOPBACK is set and this is not this machine"):
        Aws(REGION)("sts").get_caller_identity()
