"""What moto's CloudFormation does not know, taught to it as far as the templates need it.

FSx for Lustre and egress rules behave: a file system is described with its mount name, and gone when deleted.
BY_NAME_ALONE only note that they were made, so that a green deploy proves nothing about them. Change sets tell what
becomes of each resource, put out what their stack puts out, and take all back when one resource fails; a stack keeps
what it is to keep, and drops its route tables. ECR's repositories are found by their tags. S3 keeps the SHA-256 that an
object is sent with.

It changes moto for the whole of a process, so only taught_moto.py imports it, with a file as its argument, which says
what fails when it is made.
"""

import ipaddress
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from moto.cloudformation import models, parsing
from moto.core.common_models import CloudFormationModel
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource, iter_taggable_backends
from moto.ec2.models import ec2_backends
from moto.ecr.models import ecr_backends
from moto.fsx.models import fsx_backends
from moto.resourcegroupstaggingapi import models as tagging
from moto.s3.responses import S3Response

from tests.cloud.empty_account import BY_NAME_ALONE, MOUNT_NAME


class _Named(CloudFormationModel):
    """A resource that is its name."""

    type: str

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Id"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> Self:
        del cloudformation_json, account_id, region_name
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource: Any, **_: Any) -> Self:
        return original_resource

    def delete(self, account_id: str, region_name: str) -> None:
        pass


# moto finds the direct subclasses of its model.
for _kind in sorted(BY_NAME_ALONE):
    _members = {key: value for key, value in vars(_Named).items() if key not in ("__dict__", "__weakref__")}
    _members |= {"cloudformation_type": staticmethod(lambda kind=_kind: kind)}
    globals()[_kind.replace("::", "")] = type(_kind.replace("::", ""), (CloudFormationModel,), _members)


class EgressRule(CloudFormationModel):
    """AWS::EC2::SecurityGroupEgress, a rule of moto's own group."""

    def __init__(self, group: str) -> None:
        self.group = group

    @property
    def physical_resource_id(self) -> str:
        return self.group

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::EC2::SecurityGroupEgress"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> Self:
        del resource_name
        asked = cloudformation_json["Properties"]
        ec2_backends[account_id][region_name].authorize_security_group_egress(
            asked["GroupId"],
            asked["IpProtocol"],
            asked.get("FromPort"),
            asked.get("ToPort"),
            [],
            source_groups=[{"GroupId": asked["DestinationSecurityGroupId"]}],
        )
        return cls(asked["GroupId"])

    def delete(self, account_id: str, region_name: str) -> None:
        """It goes with its group."""


class LustreFileSystem(CloudFormationModel):
    """AWS::FSx::FileSystem, made in moto's own FSx."""

    def __init__(self, file_system: Any) -> None:
        self.file_system = file_system

    @property
    def physical_resource_id(self) -> str:
        return str(self.file_system.file_system_id)

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::FSx::FileSystem"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "LustreMountName"

    def get_cfn_attribute(self, attribute_name: str) -> str:
        assert attribute_name == "LustreMountName"
        return MOUNT_NAME

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> Self:
        del resource_name
        asked = cloudformation_json["Properties"]
        return cls(
            fsx_backends[account_id][region_name].create_file_system(
                client_request_token="",
                file_system_type=asked["FileSystemType"],
                file_system_type_version=asked["FileSystemTypeVersion"],
                storage_capacity=asked["StorageCapacity"],
                storage_type=asked["StorageType"],
                subnet_ids=asked["SubnetIds"],
                security_group_ids=asked["SecurityGroupIds"],
                tags=asked["Tags"],
                kms_key_id=None,
                windows_configuration=None,
                lustre_configuration=asked["LustreConfiguration"] | {"MountName": MOUNT_NAME},
                ontap_configuration=None,
                open_zfs_configuration=None,
            )
        )

    def delete(self, account_id: str, region_name: str) -> None:
        fsx_backends[account_id][region_name].file_systems.pop(self.physical_resource_id)


_clean, _create, _execute, _delete, _delete_one = (
    parsing.clean_json,
    parsing.parse_and_create_resource,
    models.CloudFormationBackend.execute_change_set,
    parsing.ResourceMap.delete,
    parsing.ResourceMap._delete_resource,
)
_checksum_of_sdks = S3Response._get_checksum
_FAILING = Path(sys.argv[1])


def _clean_with_addresses(tree: Any, resources: Any) -> Any:
    """Fn::Cidr, a Fn::Select whose index is a parameter, and the zones of the stack's own region."""
    match tree:
        case {"Fn::Cidr": [block, count, bits]}:
            networks = ipaddress.ip_network(_clean_with_addresses(block, resources)).subnets(new_prefix=32 - bits)
            return [str(network) for network in itertools.islice(networks, count)]
        case {"Fn::Select": [{"Ref": index}, items]}:
            return _clean_with_addresses({"Fn::Select": [resources[index], items]}, resources)
        case {"Fn::GetAZs": ""}:
            return [f"{resources['AWS::Region']}{letter}" for letter in "abcd"]
    return _clean(tree, resources)


def _create_or_fail(logical_id: str, resource_json: Any, resources_map: Any, *args: Any, **named: Any) -> Any:
    kind = resource_json["Type"]
    if reason := json.loads(_FAILING.read_text()).get(logical_id):
        raise _Failed(logical_id, kind, reason)
    made = _create(logical_id, resource_json, resources_map, *args, **named)
    if made is not None:
        resources_map.made = [
            *getattr(resources_map, "made", []),
            (logical_id, kind, getattr(made, "physical_resource_id", logical_id)),
        ]
    return made


class _Failed(Exception):
    """A resource that could not be made."""


def _execute_and_tell(self: Any, change_set_name: str, stack_name: str | None = None) -> None:
    change_set = self.describe_change_set(change_set_name)
    stack = self.stacks[change_set.stack_id]
    stack.resource_map.made = []
    try:
        _execute(self, change_set_name, stack_name)
    except _Failed as failure:
        logical, kind, reason = failure.args
        _tell(stack, f"{change_set.change_set_type}_FAILED", (logical, kind, ""), reason)
        _tell(stack, f"{change_set.change_set_type}_FAILED", ("Later", kind, ""), "Resource creation cancelled")
        stack.status = "ROLLBACK_COMPLETE" if change_set.change_set_type == "CREATE" else "UPDATE_ROLLBACK_COMPLETE"
        stack._add_stack_event(stack.status)
        stack.template = change_set.template
        stack.resource_map._resource_json_map = {}
        return
    for made in stack.resource_map.made:
        _tell(stack, "CREATE_COMPLETE", made, None)
    stack._parse_template()
    stack.parameters = change_set.parameters
    stack.output_map = stack._create_output_map()


def _tell(stack: Any, status: str, resource: tuple[str, str, str], reason: str | None) -> None:
    logical, kind, physical = resource
    stack.events.append(models.Event(stack.stack_id, stack.name, logical, physical, kind, status, reason, None))


def _delete_but_what_is_kept(self: Any) -> None:
    everything = self._resource_json_map
    kept = {name for name, tree in everything.items() if tree.get("DeletionPolicy", "Delete") != "Delete"}
    self._resource_json_map = {name: tree for name, tree in everything.items() if name not in kept}
    try:
        _delete(self)
    finally:
        self._resource_json_map = everything


def _delete_route_tables_too(self: Any, resource: Any, tree: Any) -> None:
    if tree["Type"] != "AWS::EC2::RouteTable":
        _delete_one(self, resource, tree)
        return
    resource.associations.clear()
    ec2_backends[self._account_id][self._region_name].delete_route_table(resource.id)


class _Repositories(TaggableResourcesMixin):
    """A region's repositories, as the Resource Groups Tagging API has them."""

    SERVICE_NAMESPACE = "ecr"
    partition = "aws"

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for repository in self._backend.repositories.values():
            tags = self._backend.tagger.get_tag_dict_for_resource(repository.arn)
            yield TaggedResource(repository.arn, tags, "ecr:repository")


def _taggable(account_id: str, region_name: str) -> Iterator[TaggableResourcesMixin]:
    yield from iter_taggable_backends(account_id, region_name)
    yield _Repositories(ecr_backends[account_id][region_name])


def _checksum(self: Any, response_headers: dict[str, Any]) -> tuple[str, str | None]:
    """moto looks for the header that AWS's own SDKs put beside it."""
    sent = self.headers.get("x-amz-checksum-sha256")
    return ("SHA256", sent) if sent else _checksum_of_sdks(self, response_headers)


S3Response._get_checksum = _checksum
tagging.iter_taggable_backends = _taggable
parsing.ResourceMap._delete_resource = _delete_route_tables_too
parsing.clean_json = _clean_with_addresses
parsing.parse_and_create_resource = _create_or_fail
models.CloudFormationBackend.execute_change_set = _execute_and_tell
parsing.ResourceMap.delete = _delete_but_what_is_kept
