"""The templates: clean by cfn-lint, by rules of our own, and deployed on moto as far as moto knows what is in them."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.loaders import Loader
from cfnlint import api
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from moto.cloudformation.parsing import get_model_map

from cloud.composition import compose
from cloud.templates import PARTS, Part
from tests.cloud.empty_account import BY_NAME_ALONE, REGION, EmptyAccount

EVERYTHING = {
    "Nat": "yes",
    "Efs": "yes",
    # moto's list of kinds ends before g4dn.
    "NotebookInstanceType": "ml.p3.2xlarge",
    "HomeportRequirement": "homeport==0.1.0",
    "BudgetEmail": "somebody@example.com",
    "ReadableBucketArns": "arn:aws:s3:::other,arn:aws:s3:::other/*",
}
GIVEN = {
    "SubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "SecurityGroupIds": "sg-0123456789abcdef0",
    "BucketName": "a-bucket-of-ours",
    "RoleArn": "arn:aws:iam::123456789012:role/Trainer",
}
RESOURCES = [
    pytest.param(resource, id=f"{part.name}.{name}")
    for part in PARTS
    for name, resource in part.template["Resources"].items()
]
HOLDS_DATA = ("AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::EFS::FileSystem", "AWS::ECR::Repository")
KNOWS_NO_RESOURCE = {
    "cloudwatch:PutMetricData",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ecr:GetAuthorizationToken",
    "sagemaker:ListTrainingJobs",
    "servicequotas:ListServiceQuotas",
}
# Property and value that mean that it is encrypted; None where FSx and SageMaker encrypt whatever is said (FSx for
# Lustre user guide, "Encryption at rest"; SageMaker guide, "Protect data at rest").
ENCRYPTED: dict[str, tuple[str, Any] | None] = {
    "AWS::S3::Bucket": (
        "BucketEncryption",
        {"ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},
    ),
    "AWS::EFS::FileSystem": ("Encrypted", True),
    "AWS::ECR::Repository": ("EncryptionConfiguration", {"EncryptionType": "AES256"}),
    "AWS::FSx::FileSystem": None,
    "AWS::SageMaker::NotebookInstance": None,
}
KEEPS_NOTHING = (
    "AWS::Budgets::",
    "AWS::EC2::",
    "AWS::EFS::MountTarget",
    "AWS::FSx::DataRepositoryAssociation",
    "AWS::IAM::",
    "AWS::S3::BucketPolicy",
    "AWS::SageMaker::NotebookInstanceLifecycleConfig",
)


def statements(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every statement of every policy below."""
    if isinstance(tree, dict):
        if "Effect" in tree:
            yield tree
        for value in tree.values():
            yield from statements(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from statements(item)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_template_is_clean_by_cfn_lint(part: Part) -> None:
    assert api.lint(json.dumps(part.template), regions=[REGION]) == []


@pytest.mark.parametrize(
    "given",
    [{}, EVERYTHING, GIVEN, EVERYTHING | {"FsxDeploymentType": "PERSISTENT_2"}],
    ids=["defaults", "everything", "into what is there", "persistent"],
)
def test_what_is_composed_is_clean_and_short_enough_to_be_sent(given: Mapping[str, str]) -> None:
    composed = compose(given)

    assert api.lint(composed.body, regions=[REGION]) == []
    assert len(composed.body.encode()) <= 51_200


@pytest.mark.parametrize("resource", RESOURCES)
def test_nothing_comes_in_but_from_a_security_group(resource: Mapping[str, Any]) -> None:
    properties = resource["Properties"]
    rules = properties.get("SecurityGroupIngress", [])
    if resource["Type"] == "AWS::EC2::SecurityGroupIngress":
        rules = [properties]

    assert all("SourceSecurityGroupId" in rule and not {"CidrIp", "CidrIpv6"} & rule.keys() for rule in rules)


def test_lustre_is_let_through_to_the_group_itself_and_to_nobody_else() -> None:
    resources = next(part for part in PARTS if part.name == "network").template["Resources"]
    group = {"Ref": "JobSecurityGroup"}

    rules = {
        (item["Type"].rpartition("Group")[2], item["Properties"]["FromPort"], item["Properties"]["ToPort"])
        for item in resources.values()
        if group
        in (item["Properties"].get("SourceSecurityGroupId"), item["Properties"].get("DestinationSecurityGroupId"))
        and item["Properties"]["GroupId"] == group
        and item["Properties"]["IpProtocol"] == "tcp"
    }

    assert rules == {("Ingress", 988, 988), ("Ingress", 1018, 1023), ("Egress", 988, 988), ("Egress", 1018, 1023)}


@pytest.mark.parametrize("resource", RESOURCES)
def test_no_right_is_given_by_a_wildcard(resource: Mapping[str, Any]) -> None:
    for statement in statements(resource):
        if statement["Effect"] == "Allow":
            actions = listed(statement["Action"])
            assert not [action for action in actions if "*" in action]
            if "*" in listed(statement.get("Resource")):
                assert set(actions) <= KNOWS_NO_RESOURCE


@pytest.mark.parametrize("resource", RESOURCES)
def test_nothing_has_a_fixed_name(resource: Mapping[str, Any]) -> None:
    # An inline policy's name is its role's own affair.
    names = {
        key: value for key, value in resource["Properties"].items() if key.endswith("Name") and key != "PolicyName"
    }

    assert not [key for key, value in names.items() if isinstance(value, str)]


@pytest.mark.parametrize("resource", RESOURCES)
def test_what_keeps_data_is_encrypted(resource: Mapping[str, Any]) -> None:
    if resource["Type"].startswith(KEEPS_NOTHING):
        assert resource["Type"] not in ENCRYPTED
    elif means := ENCRYPTED[resource["Type"]]:
        key, value = means
        assert resource["Properties"][key] == value


@pytest.mark.parametrize("resource", RESOURCES)
def test_whatever_can_be_tagged_is(resource: Mapping[str, Any]) -> None:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, resource["Type"]).schema
    tagging = schema.get("tagging", {"taggable": "Tags" in schema["properties"]})
    tags = tagging.get("tagProperty", "/properties/Tags").rpartition("/")[2]

    if tagging["taggable"] and tags in schema["properties"]:
        assert {"Key": "homeport", "Value": {"Ref": "AWS::StackName"}} in resource["Properties"][tags]


@pytest.mark.parametrize("resource", RESOURCES)
def test_what_becomes_of_it_is_said_and_what_holds_data_stays(resource: Mapping[str, Any]) -> None:
    kept = resource["Type"] in HOLDS_DATA

    assert resource["DeletionPolicy"] == ("RetainExceptOnCreate" if kept else "Delete")
    assert resource["UpdateReplacePolicy"] == ("Retain" if kept else "Delete")


def test_the_bucket_is_shut_to_the_public_and_to_whoever_comes_without_tls() -> None:
    resources = next(part for part in PARTS if part.name == "storage").template["Resources"]

    assert set(resources["Bucket"]["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    (statement,) = statements(resources["BucketPolicy"])
    assert statement["Effect"] == "Deny"
    assert statement["Principal"] == "*"
    assert statement["Action"] == "s3:*"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_no_two_parts_use_a_name_for_two_things() -> None:
    for section in ("Resources", "Conditions", "Outputs"):
        names = [name for part in PARTS for name in part.template.get(section, {})]
        assert len(names) == len(set(names))
    declared: dict[str, Any] = {}
    for part in PARTS:
        for name, tree in part.parameters.items():
            same = {key: value for key, value in tree.items() if key not in ("AllowedPattern", "Default")}
            assert declared.setdefault(name, same) == same


def test_no_condition_asks_for_what_another_part_puts_out() -> None:
    put_out = {name for part in PARTS for name in part.outputs}

    for part in PARTS:
        conditions = json.dumps(part.template.get("Conditions", {}))
        assert not [name for name in put_out if f'"{name}"' in conditions]


def test_the_notebooks_are_of_kinds_that_sagemaker_has() -> None:
    shapes = Loader().load_service_model("sagemaker", "service-2")["shapes"]
    offered = next(part for part in PARTS if part.name == "notebook").parameters["NotebookInstanceType"]

    assert set(offered["AllowedValues"]) <= set(shapes["InstanceType"]["enum"])


def test_what_moto_does_not_know_is_what_it_was_taught() -> None:
    known = set(get_model_map())
    used = {resource["Type"] for part in PARTS for resource in part.template["Resources"].values()}

    assert used - known == BY_NAME_ALONE | {"AWS::FSx::FileSystem", "AWS::EC2::SecurityGroupEgress"}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_each_template_deploys_alone(part: Part, empty_account: EmptyAccount) -> None:
    values = _values(empty_account)
    cloudformation = empty_account.client("cloudformation")

    cloudformation.create_stack(
        StackName="alone",
        TemplateBody=json.dumps(part.template),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": values[name]} for name in part.parameters if name in values
        ],
        Capabilities=["CAPABILITY_IAM"],
    )

    stack = cloudformation.describe_stacks(StackName="alone")["Stacks"][0]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert {output["OutputKey"] for output in stack.get("Outputs", [])} == part.outputs.keys()
    made = {
        item["LogicalResourceId"]
        for item in cloudformation.describe_stack_resources(StackName="alone")["StackResources"]
    }
    conditional = {name for name, tree in part.template["Resources"].items() if "Condition" in tree}
    assert part.template["Resources"].keys() - made <= conditional


def _values(account: EmptyAccount) -> dict[str, str]:
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]
        for number, zone in enumerate("ab")
    ]
    return EVERYTHING | {
        "VpcId": vpc,
        "SubnetIds": ",".join(subnet["SubnetId"] for subnet in subnets),
        "SecurityGroupIds": ec2.create_security_group(GroupName="jobs", Description="jobs", VpcId=vpc)["GroupId"],
        "PrivateRouteTableId": ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"],
        "NatSubnetCidr": "10.20.3.0/24",
        "BucketName": "a-bucket-of-ours",
        "RoleArn": "arn:aws:iam::123456789012:role/Trainer",
    }


def test_the_script_at_the_start_of_a_notebook_is_no_longer_than_sagemaker_takes(empty_account: EmptyAccount) -> None:
    part = next(part for part in PARTS if part.name == "notebook")
    values = _values(empty_account)
    cloudformation, sagemaker = empty_account.client("cloudformation"), empty_account.client("sagemaker")
    cloudformation.create_stack(
        StackName="alone",
        TemplateBody=json.dumps(part.template),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": values[name]} for name in part.parameters if name in values
        ],
    )

    made = cloudformation.describe_stack_resource(StackName="alone", LogicalResourceId="NotebookStart")
    name = made["StackResourceDetail"]["PhysicalResourceId"].rpartition("/")[2]
    content = sagemaker.describe_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName=name)
    script = content["OnStart"][0]["Content"]
    assert len(script) <= 16_384
    assert base64.b64decode(script).startswith(b"#!/bin/bash\nREGION='us-west-2'\nFSX_ID=''\n")
