"""What a stack is made of, what its status and events mean, what it costs, what a clean-up takes. All of it pure."""

import json
from typing import Any

import pytest

from cloud.cleanup import Kind, Tagged, plan_cleanup
from cloud.composition import compose, given_of
from cloud.prices import costs, total
from cloud.stack_state import Step, first_failure, has_failed, of_the_last_order, step_for
from training_job.errors import JobRefused

STACK_ID = "arn:aws:cloudformation:us-west-2:123456789012:stack/homeport/1"
NETWORK = {"SubnetIds": "subnet-0123456789", "SecurityGroupIds": "sg-0123456789"}


def test_a_parameter_is_the_output_of_the_same_name_of_another_part() -> None:
    lustre = compose({}).template["Resources"]["Lustre"]["Properties"]

    assert lustre["SecurityGroupIds"] == {"Fn::Split": [",", {"Ref": "JobSecurityGroup"}]}


def test_a_text_with_another_parts_output_in_it_gets_the_output() -> None:
    link = compose({}).template["Resources"]["BucketLink"]["Properties"]["DataRepositoryPath"]

    assert link == {"Fn::Sub": ["s3://${BucketName}/${DataPrefix}", {"BucketName": {"Ref": "Bucket"}}]}


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({}, "network endpoints storage registry role file_system"),
        ({"FsxDeploymentType": "none", "Repositories": "none"}, "network endpoints storage role"),
        ({"InterfaceEndpoints": "none", "Nat": "yes"}, "network nat storage registry role file_system"),
        (NETWORK, "storage registry role file_system"),
        (NETWORK | {"InterfaceEndpoints": "yes", "VpcId": "vpc-0123"}, "endpoints storage registry role file_system"),
        ({"BucketName": "ours-1"}, "network endpoints registry role file_system"),
        (
            {"FsxFileSystemId": "fs-0123456789", "FsxMountName": "abc", "FsxName": "data"},
            "network endpoints storage registry role",
        ),
    ],
)
def test_what_is_given_or_switched_off_is_not_made(given: dict[str, str], parts: str) -> None:
    assert compose(given).parts == tuple(parts.split())


def test_what_is_given_is_put_out_all_the_same() -> None:
    composed = compose(NETWORK | {"BucketName": "ours-1"})

    assert composed.parameters == NETWORK | {"BucketName": "ours-1"}
    for name in composed.parameters:
        assert composed.template["Outputs"][name] == {"Value": {"Ref": name}}
        assert name in composed.template["Parameters"]


def test_the_choices_are_found_again_in_the_template() -> None:
    given = {"Nat": "yes", "FsxStorageCapacity": "2400"}

    assert given_of(json.loads(compose(given).body)) == given


def test_a_file_system_that_is_given_is_mounted_by_the_notebook() -> None:
    given = {"FsxFileSystemId": "fs-0123456789", "FsxMountName": "abc", "FsxName": "data"}
    notebook = {"NotebookInstanceType": "ml.t3.medium", "HomeportRequirement": "homeport==0.1.0"}

    composed = compose(given | notebook)

    assert composed.parameters["FsxFileSystemId"] == "fs-0123456789"
    assert composed.template["Outputs"]["FsxName"] == {"Value": {"Ref": "FsxName"}}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"RoleArn": "Trainer"}, "RoleArn: must be like arn:aws"),
        ({"FsxThroughput": "130"}, "FsxThroughput: must be one of 125, 250, 500, 1000, not '130'"),
        ({"FirstZone": "9"}, "FirstZone: must be a whole number from 0 on to 5, not '9'"),
        ({"SubnetIds": "subnet-0123456789"}, "SecurityGroupIds: must be given too, since SubnetIds is"),
        ({"Nat": "maybe"}, "Nat: must be yes or none, not 'maybe'"),
        (NETWORK | {"Efs": "yes"}, "SubnetIds: must be like subnet-"),
        (NETWORK | {"Nat": "yes"}, "PrivateRouteTableId: must be given: nat needs it, and nothing here makes it"),
        (
            {"MonthlyBudget": "9"},
            "MonthlyBudget: is for budget, left out here. To forget it: --parameter MonthlyBudget=",
        ),
        ({"NotebookInstanceType": "ml.t3.medium"}, "HomeportRequirement: must be given: notebook needs it"),
        (
            {"NotebookInstanceType": "ml.t3.medium", "HomeportRequirement": "homeport"},
            "HomeportRequirement: must be like",
        ),
        ({"NotebookInstanceType": "ml.t3.medium", "HomeportRequirement": "homeport==1'; rm -rf /"}, "must be like"),
    ],
)
def test_a_choice_that_no_stack_can_have_is_refused(given: dict[str, str], fault: str) -> None:
    with pytest.raises(JobRefused) as refused:
        compose(given)

    assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (None, Step.CREATE),
        ("REVIEW_IN_PROGRESS", Step.CREATE),
        ("DELETE_COMPLETE", Step.CREATE),
        ("CREATE_COMPLETE", Step.CHANGE),
        ("UPDATE_COMPLETE", Step.CHANGE),
        ("UPDATE_ROLLBACK_COMPLETE", Step.CHANGE),
        ("CREATE_IN_PROGRESS", Step.WAIT),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Step.WAIT),
        ("ROLLBACK_IN_PROGRESS", Step.WAIT),
        ("DELETE_IN_PROGRESS", Step.WAIT),
        ("ROLLBACK_COMPLETE", Step.REMOVE_FIRST),
        ("ROLLBACK_FAILED", Step.REMOVE_FIRST),
        ("DELETE_FAILED", Step.CANNOT),
        ("UPDATE_ROLLBACK_FAILED", Step.CANNOT),
    ],
)
def test_what_up_does_follows_from_the_status(status: str | None, step: Step) -> None:
    assert step_for(status) is step


def test_an_end_that_took_everything_back_has_failed() -> None:
    assert has_failed("ROLLBACK_COMPLETE")
    assert has_failed("UPDATE_ROLLBACK_COMPLETE")
    assert has_failed("DELETE_FAILED")
    assert not has_failed("CREATE_COMPLETE")


def event(status: str, resource: str = "", reason: str = "") -> dict[str, Any]:
    kind = "AWS::FSx::FileSystem" if resource else "AWS::CloudFormation::Stack"
    physical = "" if resource else STACK_ID
    return {
        "StackId": STACK_ID,
        "ResourceStatus": status,
        "ResourceType": kind,
        "PhysicalResourceId": physical,
        "LogicalResourceId": resource,
        "ResourceStatusReason": reason,
    }


def test_the_first_failure_is_of_the_last_order_and_not_what_was_called_off_after_it() -> None:
    newest_first = [
        event("UPDATE_ROLLBACK_COMPLETE"),
        event("CREATE_FAILED", "Notebook", "Resource creation cancelled"),
        event("CREATE_FAILED", "Efs", "no rights"),
        event("CREATE_FAILED", "Lustre", "no capacity"),
        # Of the same second, and told in any order.
        event("CREATE_FAILED", "Nat", "Resource creation cancelled"),
        event("CREATE_IN_PROGRESS", "Lustre"),
        event("UPDATE_IN_PROGRESS"),
        event("CREATE_FAILED", "Vpc", "too many"),
        event("CREATE_IN_PROGRESS"),
    ]

    failed = first_failure(of_the_last_order(newest_first))

    assert failed
    assert failed["LogicalResourceId"] == "Lustre"


def test_an_order_that_went_well_has_no_failure() -> None:
    assert first_failure(of_the_last_order([event("CREATE_COMPLETE", "Vpc"), event("CREATE_IN_PROGRESS")])) is None


@pytest.mark.parametrize(
    ("given", "an_hour"),
    [
        ({}, 0.06 + 1200 * 0.14 / 730),
        ({"FsxDeploymentType": "none", "InterfaceEndpoints": "none"}, 0),
        (
            {"FsxDeploymentType": "PERSISTENT_2", "FsxStorageCapacity": "2400", "FsxThroughput": "250"},
            0.06 + 2400 * 0.21 / 730,
        ),
        ({"Nat": "yes", "FsxDeploymentType": "none"}, 0.06 + 0.045 + 0.005),
        (
            {
                "FsxDeploymentType": "none",
                "InterfaceEndpoints": "none",
                "NotebookInstanceType": "ml.p3.16xlarge",
                "NotebookVolumeSize": "500",
                "HomeportRequirement": "homeport==0.1.0",
            },
            28.152 + 500 * 0.14 / 730,
        ),
    ],
)
def test_the_cost_of_an_hour_is_the_sum_of_what_stands(given: dict[str, str], an_hour: float) -> None:
    composed = compose(given)

    assert total(costs(composed.template, composed.parameters)) == pytest.approx(an_hour)


def test_a_kind_without_a_known_price_is_named_and_not_counted() -> None:
    composed = compose({"NotebookInstanceType": "ml.g6.48xlarge", "HomeportRequirement": "homeport==0.1.0"})

    (cost,) = [cost for cost in costs(composed.template, composed.parameters) if cost.resource == "Notebook"]

    assert cost.an_hour is None
    assert "ml.g6.48xlarge: no price known here" in cost.why


OURS = {"homeport": "homeport"}


def arn(service: str, resource: str, place: str = "us-west-2:123456789012") -> str:
    return f"arn:aws:{service}:{place}:{resource}"


def cleanup_of(*found: Tagged, goes: tuple[str, ...] = (), running: tuple[str, ...] = ()) -> Any:
    return plan_cleanup(found, tag="homeport", stack="homeport", goes_with_stack=goes, running=running)


@pytest.mark.parametrize("tags", [{}, {"homeport": "another"}, {"team": "homeport"}, {"Homeport": "homeport"}])
def test_nothing_without_the_tag_and_the_stacks_name_in_it_is_removed(tags: dict[str, str]) -> None:
    cleanup = cleanup_of(Tagged(arn("s3", "theirs", ":"), tags), Tagged(arn("ecr", "repository/theirs"), tags))

    assert cleanup.removals == ()
    assert cleanup.left == ()


def test_what_stands_on_something_goes_before_it() -> None:
    cleanup = cleanup_of(
        Tagged(arn("s3", "bucket", ":"), OURS),
        Tagged(arn("ecr", "repository/homeport/tensorflow"), OURS),
        Tagged(arn("fsx", "file-system/fs-0123456789"), OURS),
        Tagged(arn("cloudformation", "stack/homeport/0123"), OURS),
        Tagged(arn("sagemaker", "training-job/running"), OURS),
        running=("running", "somebody-elses"),
    )

    assert [(item.kind, item.name) for item in cleanup.removals] == [
        (Kind.TRAINING_JOB, "running"),
        (Kind.STACK, "homeport"),
        (Kind.LUSTRE, "fs-0123456789"),
        (Kind.REPOSITORY, "homeport/tensorflow"),
        (Kind.BUCKET, "bucket"),
    ]


def test_what_goes_with_the_stack_is_not_removed_by_itself() -> None:
    notebook = arn("sagemaker", "notebook-instance/nb")

    cleanup = cleanup_of(
        Tagged(arn("ec2", "vpc/vpc-01"), OURS),
        Tagged(notebook, OURS),
        Tagged(arn("cloudformation", "stack/homeport/0123"), OURS),
        goes=("vpc-01", notebook),
    )

    assert [item.kind for item in cleanup.removals] == [Kind.STACK]
    assert cleanup.left == ()


def test_what_nobody_here_knows_to_remove_is_named_and_left() -> None:
    vpc = arn("ec2", "vpc/vpc-01")

    cleanup = cleanup_of(Tagged(vpc, OURS), Tagged(arn("sagemaker", "endpoint/theirs"), OURS))

    assert cleanup.removals == ()
    assert cleanup.left == (vpc, arn("sagemaker", "endpoint/theirs"))


def test_training_jobs_that_have_ended_are_counted_and_left() -> None:
    cleanup = cleanup_of(Tagged(arn("sagemaker", "training-job/ended"), OURS))

    assert cleanup.removals == ()
    assert cleanup.ended_jobs == 1
