"""stack up, down and status, against an account that has nothing yet."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cloud import stack_client
from cloud.__main__ import main
from cloud.answers import ask_account
from cloud.aws import Aws
from cloud.preflight import judge
from tests.cloud.empty_account import MOUNT_NAME, REGION, EmptyAccount
from tests.cloud.refusing_front import refusing_now_and_then
from training_job.job_file import read_job

NOTEBOOK = ["--parameter", "NotebookInstanceType=ml.t3.medium", "--parameter", "HomeportRequirement=homeport==0.1.0"]
_tags = stack_client._tags
OUTPUTS = {
    "BucketName",
    "FsxFileSystemId",
    "FsxMountName",
    "FsxName",
    "NatSubnetCidr",
    "PrivateRouteTableId",
    "RoleArn",
    "SecurityGroupIds",
    "SubnetIds",
    "VpcId",
}
OWNER = "123456789012"
Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cloud.stack_commands.time.sleep", lambda _: None)
    (tmp_path / "homeport.toml").write_text(f'[cloud]\nregion = "{REGION}"\n')


def stack_of(account: EmptyAccount) -> dict[str, Any]:
    found: dict[str, Any] = account.client("cloudformation").describe_stacks(StackName="homeport")["Stacks"][0]
    return found


def outputs_of(account: EmptyAccount) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack_of(account)["Outputs"]}


def test_up_shows_every_resource_and_the_cost_and_makes_nothing_without_yes(
    empty_account: EmptyAccount, capsys: Said
) -> None:
    before = empty_account.counted()

    assert main(["stack", "up"]) == 0

    said = capsys.readouterr().out
    assert "  + Lustre                   AWS::FSx::FileSystem\n" in said
    assert "costs $0.290 an hour while it stands (prices of us-east-1, some unverified: docs/stacks.md)" in said
    assert "$0.230   Lustre: FSx for Lustre SCRATCH_2, 1,200 GiB, used or not" in said
    assert said.endswith("nothing was made; --yes makes it\n")
    assert empty_account.counted() == before


def test_up_makes_what_a_job_needs_and_puts_it_out(empty_account: EmptyAccount, capsys: Said) -> None:
    assert main(["stack", "up", "--yes"]) == 0

    outputs = outputs_of(empty_account)
    assert outputs.keys() == OUTPUTS
    assert (outputs["FsxName"], outputs["FsxMountName"]) == ("training-data", MOUNT_NAME)
    (file_system,) = empty_account.client("fsx").describe_file_systems()["FileSystems"]
    assert file_system["FileSystemId"] == outputs["FsxFileSystemId"]
    assert file_system["SubnetIds"] == outputs["SubnetIds"].split(",")[:1]
    subnets = empty_account.client("ec2").describe_subnets(SubnetIds=outputs["SubnetIds"].split(","))["Subnets"]
    assert sorted(subnet["AvailabilityZone"] for subnet in subnets) == [f"{REGION}a", f"{REGION}b"]
    assert not any(subnet["MapPublicIpOnLaunch"] for subnet in subnets)
    assert {"Key": "homeport", "Value": "homeport"} in stack_of(empty_account)["Tags"]
    said = capsys.readouterr().out
    assert "  CREATE_COMPLETE      Lustre (AWS::FSx::FileSystem)\n" in said
    assert "stack homeport: CREATE_COMPLETE\n" in said


def test_the_security_group_lets_in_the_group_itself_alone(empty_account: EmptyAccount) -> None:
    main(["stack", "up", "--yes"])

    group = outputs_of(empty_account)["SecurityGroupIds"]
    (found,) = empty_account.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert not [rule for rule in found["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"]]
    assert {(rule.get("FromPort"), rule.get("ToPort")) for rule in found["IpPermissions"]} >= {(988, 988), (1018, 1023)}
    assert {pair["GroupId"] for rule in found["IpPermissions"] for pair in rule["UserIdGroupPairs"]} == {group}


def test_what_a_stack_makes_passes_the_checks_before_a_job(empty_account: EmptyAccount, tmp_path: Path) -> None:
    main(["stack", "up", "--yes", "--parameter", "Efs=yes"])
    outputs = outputs_of(empty_account)
    lustre = {"Id": outputs["FsxFileSystemId"], "Type": "FSxLustre", "Path": f"/{outputs['FsxMountName']}/cifar10"}
    efs = {"Id": outputs["EfsFileSystemId"], "Type": "EFS", "Path": "/checkpoints"}
    request = {
        "TrainingJobName": "job-1",
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "RoleArn": outputs["RoleArn"],
        "InputDataConfig": [
            {
                "ChannelName": name,
                "DataSource": {
                    "FileSystemDataSource": {
                        "FileSystemId": source["Id"],
                        "FileSystemType": source["Type"],
                        "FileSystemAccessMode": "ro",
                        "DirectoryPath": source["Path"],
                    }
                },
            }
            for name, source in {"train": lustre, "home": efs}.items()
        ],
        "OutputDataConfig": {"S3OutputPath": f"s3://{outputs['BucketName']}/jobs"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "VpcConfig": {
            "Subnets": outputs["SubnetIds"].split(","),
            "SecurityGroupIds": outputs["SecurityGroupIds"].split(","),
        },
    }
    (tmp_path / "job.json").write_text(json.dumps(request))
    job = read_job(tmp_path / "job.json", now=datetime(2026, 11, 21, tzinfo=UTC), region=REGION)

    verdict = judge(job, ask_account(Aws(REGION), job, whose=OWNER, region=REGION), region=REGION)

    assert verdict.faults == ()
    looked_at = ("subnets", "security groups", "file system", "role", "s3://")
    assert not [fault for fault in verdict.unknown if fault.where.startswith(looked_at)]


def test_up_again_changes_nothing(empty_account: EmptyAccount, capsys: Said) -> None:
    main(["stack", "up", "--yes"])
    before = outputs_of(empty_account)
    capsys.readouterr()

    assert main(["stack", "up", "--yes"]) == 0

    assert capsys.readouterr().out == "stack homeport: nothing to change\n"
    assert outputs_of(empty_account) == before


def test_up_keeps_what_was_chosen_before_and_changes_what_is_asked(empty_account: EmptyAccount, capsys: Said) -> None:
    main(["stack", "up", "--yes", *NOTEBOOK])
    capsys.readouterr()

    assert main(["stack", "up", "--yes", "--parameter", "Efs=yes"]) == 0

    said = capsys.readouterr().out
    assert [line.split()[1] for line in said.splitlines() if line.startswith("  + ")] == [
        "Efs",
        "FirstMount",
        "SecondMount",
    ]
    assert "  - " not in said
    assert outputs_of(empty_account).keys() == OUTPUTS | {"NotebookName", "EfsName", "EfsFileSystemId"}


def test_a_part_that_is_given_up_is_removed(empty_account: EmptyAccount, capsys: Said) -> None:
    main(["stack", "up", "--yes"])

    assert main(["stack", "up", "--yes", "--parameter", "FsxDeploymentType=none"]) == 0

    said = capsys.readouterr().out
    assert "  - Lustre                   AWS::FSx::FileSystem\n  - BucketLink" in said
    assert empty_account.client("fsx").describe_file_systems()["FileSystems"] == []


def test_what_is_there_already_is_used(empty_account: EmptyAccount) -> None:
    ec2 = empty_account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="ours", Description="ours", VpcId=vpc)["GroupId"]
    place = {"LocationConstraint": REGION}
    empty_account.client("s3").create_bucket(Bucket="bucket-of-ours", CreateBucketConfiguration=place)
    given = {"SubnetIds": subnet, "SecurityGroupIds": group, "BucketName": "bucket-of-ours"}
    counted = empty_account.counted()

    code = main(["stack", "up", "--yes", *[word for item in given.items() for word in ("--parameter", "=".join(item))]])

    assert code == 0
    assert outputs_of(empty_account).items() >= given.items()
    now = empty_account.counted()
    assert (now["VPCs"], now["buckets"], now["FSx"]) == (counted["VPCs"], counted["buckets"], 1)


def test_repositories_that_a_push_has_made_are_used(empty_account: EmptyAccount, capsys: Said) -> None:
    empty_account.client("ecr").create_repository(repositoryName="homeport/tensorflow")

    assert main(["stack", "up", "--yes"]) == 0
    assert main(["stack", "up", "--yes"]) == 0

    said = capsys.readouterr().out
    assert "homeport/tensorflow: there already, and used as they are; the stack makes no repositories\n" in said
    assert len(empty_account.client("ecr").describe_repositories()["repositories"]) == 1


def test_the_resource_that_failed_first_is_told_and_why(empty_account: EmptyAccount, capsys: Said) -> None:
    with empty_account.failing(
        "Lustre", "No Lustre capacity is left in us-west-2a (Service: AmazonFSx; Status Code: 400)"
    ):
        assert main(["stack", "up", "--yes"]) == 3

    told = capsys.readouterr().err
    assert "stack homeport is ROLLBACK_COMPLETE. Lustre (AWS::FSx::FileSystem) failed first: No Lustre capa" in told
    assert "city is left in us-west-2a (Service: AmazonFSx; Status Code: 400)\n" in told
    assert "cancelled" not in told
    assert "homeport-cloud stack up" in told


def test_up_after_a_failed_creation_removes_what_that_left_and_makes_it_anew(
    empty_account: EmptyAccount, capsys: Said
) -> None:
    with empty_account.failing("Lustre", "no capacity"):
        main(["stack", "up", "--yes", "--parameter", "Efs=yes"])

    assert main(["stack", "up"]) == 0
    assert "what a failed creation left is removed first" in capsys.readouterr().out
    assert stack_of(empty_account)["StackStatus"] == "ROLLBACK_COMPLETE"
    assert main(["stack", "up", "--yes"]) == 0
    assert stack_of(empty_account)["StackStatus"] == "CREATE_COMPLETE"
    assert outputs_of(empty_account)["EfsName"] == "home"


def test_a_client_that_was_killed_before_it_carried_out_its_change_is_started_again(
    empty_account: EmptyAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(stack_client.StackClient, "execute", killed)
        with pytest.raises(SystemExit):
            main(["stack", "up", "--yes"])
    assert stack_of(empty_account)["StackStatus"] == "REVIEW_IN_PROGRESS"
    # CloudFormation gives a stack its tags when it is made.
    monkeypatch.setattr(stack_client, "_tags", lambda found: {} if "REVIEW" in found["StackStatus"] else _tags(found))

    assert main(["stack", "down"]) == 0
    assert main(["stack", "up", "--yes"]) == 0

    assert stack_of(empty_account)["StackStatus"] == "CREATE_COMPLETE"
    assert len(empty_account.client("fsx").describe_file_systems()["FileSystems"]) == 1


@pytest.mark.usefixtures("empty_account")
def test_a_client_that_was_killed_while_it_waited_is_started_again_and_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    def killed(*_: object) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(stack_client.StackClient, "follow", killed)
        with pytest.raises(SystemExit):
            main(["stack", "up", "--yes"])
    under_way = iter(["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS"])
    observe = stack_client.StackClient.observe

    def observed(self: Any, stack_id: str | None = None) -> Any:
        found = observe(self, stack_id)
        status = next(under_way, found.status)
        return type(found)(found.id, status, found.reason, found.tags, found.outputs, found.parameters)

    monkeypatch.setattr(stack_client.StackClient, "observe", observed)
    capsys.readouterr()

    assert main(["stack", "up", "--yes"]) == 0

    said = capsys.readouterr().out
    assert said.startswith("stack homeport is CREATE_IN_PROGRESS: waiting\n")
    assert "  CREATE_COMPLETE      Lustre (AWS::FSx::FileSystem)\n" in said
    assert said.endswith("stack homeport: nothing to change\n")


@pytest.mark.parametrize(
    ("status", "way_out"),
    [
        ("UPDATE_ROLLBACK_FAILED", "aws cloudformation continue-update-rollback --stack-name homeport"),
        ("DELETE_FAILED", "homeport-cloud stack down --yes"),
    ],
)
@pytest.mark.usefixtures("empty_account")
def test_a_stack_that_only_a_person_can_mend_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: Said, status: str, way_out: str
) -> None:
    found = stack_client.Observed("id", status, "no rights", {"homeport": "homeport"}, {}, {})
    monkeypatch.setattr(stack_client.StackClient, "observe", lambda *_: found)

    assert main(["stack", "up", "--yes"]) == 3

    told = capsys.readouterr().err
    assert f"stack homeport is {status}: no rights. " in told
    assert way_out in told


def test_up_goes_on_though_aws_throttles_and_fails(
    empty_account: EmptyAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing_now_and_then(empty_account.url) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)

        assert main(["stack", "up", "--yes"]) == 0

    assert front.refused >= 3
    assert stack_of(empty_account)["StackStatus"] == "CREATE_COMPLETE"
    assert empty_account.counted().items() >= {"FSx": 1, "buckets": 1, "stacks": 1}.items()


def test_down_shows_what_goes_and_what_stays_and_removes_nothing_without_yes(
    empty_account: EmptyAccount, capsys: Said
) -> None:
    main(["stack", "up", "--yes"])
    bucket = outputs_of(empty_account)["BucketName"]
    before = empty_account.counted()
    capsys.readouterr()

    assert main(["stack", "down"]) == 0

    said = capsys.readouterr().out
    assert "  - Lustre                   fs-" in said
    assert f"    Bucket                   {bucket} stays; used again with --parameter BucketName={bucket}\n" in said
    assert said.endswith("nothing was removed; --yes removes it\n")
    assert empty_account.counted() == before


def test_down_removes_all_but_what_holds_data(empty_account: EmptyAccount) -> None:
    before = empty_account.counted()
    main(["stack", "up", "--yes", "--parameter", "Efs=yes", *NOTEBOOK])
    bucket = outputs_of(empty_account)["BucketName"]
    empty_account.client("s3").put_object(Bucket=bucket, Key="fsx/cifar10/train.tfrecord", Body=b"data")

    assert main(["stack", "down", "--yes"]) == 0

    assert empty_account.counted() == before | {"buckets": 1, "repositories": 2, "EFS": 1}
    assert (
        empty_account.client("s3").get_object(Bucket=bucket, Key="fsx/cifar10/train.tfrecord")["Body"].read() == b"data"
    )


@pytest.mark.usefixtures("empty_account")
def test_down_twice_is_no_fault(capsys: Said) -> None:
    main(["stack", "up", "--yes"])
    main(["stack", "down", "--yes"])
    capsys.readouterr()

    assert main(["stack", "down", "--yes"]) == 0

    assert capsys.readouterr().out == "stack homeport: there is none in us-west-2\n"


@pytest.mark.parametrize("command", [["stack", "up", "--yes"], ["stack", "down", "--yes"]])
def test_a_stack_that_somebody_else_made_is_left_alone(
    empty_account: EmptyAccount, capsys: Said, command: list[str]
) -> None:
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    empty_account.client("cloudformation").create_stack(StackName="homeport", TemplateBody=template)

    assert main(command) == 3

    assert "has no tag homeport=homeport: it was not made by Homeport, which leaves it alone" in capsys.readouterr().err
    assert empty_account.client("cloudformation").get_template(StackName="homeport")["TemplateBody"] == json.loads(
        template
    )


def test_a_stack_that_somebody_else_has_only_proposed_is_left_alone(empty_account: EmptyAccount, capsys: Said) -> None:
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    empty_account.client("cloudformation").create_change_set(
        StackName="homeport", ChangeSetName="theirs", ChangeSetType="CREATE", TemplateBody=template
    )

    assert main(["stack", "up", "--yes"]) == 3

    assert "it was not made by Homeport" in capsys.readouterr().err
    assert stack_of(empty_account)["StackStatus"] == "REVIEW_IN_PROGRESS"


@pytest.mark.usefixtures("empty_account")
def test_status_tells_what_is_put_out_and_what_it_costs(capsys: Said) -> None:
    main(["stack", "up", "--yes"])
    capsys.readouterr()

    assert main(["stack", "status"]) == 0

    said = capsys.readouterr().out
    assert said.startswith("stack homeport in us-west-2: CREATE_COMPLETE\n")
    assert "  FsxName              training-data\n" in said
    assert "costs $0.290 an hour" in said


@pytest.mark.usefixtures("empty_account")
def test_status_of_no_stack_says_how_to_make_one(capsys: Said) -> None:
    assert main(["stack", "status"]) == 3

    assert "stack homeport: there is none in us-west-2. Make it: homeport-cloud stack up" in capsys.readouterr().err


def test_every_fault_of_the_parameters_is_told_before_anything_is_made(
    empty_account: EmptyAccount, capsys: Said
) -> None:
    before = empty_account.counted()
    wrong = ["BuckteName=x", "SubnetIds=subnet-0123456789", "FsxStorageCapacity=1300", "Nat=perhaps"]

    assert main(["stack", "up", "--yes", *[word for pair in wrong for word in ("--parameter", pair)]]) == 2

    told = capsys.readouterr().err
    assert "BuckteName: no template has such a parameter; did you mean 'BucketName'?" in told
    assert "SecurityGroupIds: must be given too, since SubnetIds is" in told
    assert "FsxStorageCapacity: must be one of 1200, 2400, 4800" in told
    assert "Nat: must be yes or none, not 'perhaps'" in told
    assert empty_account.counted() == before


def test_nobody_is_asked_anything_but_on_this_machine(monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")

    assert main(["stack", "status"]) == 3

    assert (
        "cloudformation.us-west-2.amazonaws.com: refused, since HOMEPORT_ONLY_LOOPBACK is set"
        in capsys.readouterr().err
    )
