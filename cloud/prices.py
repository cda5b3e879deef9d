"""What a stack costs for each hour that it stands, as far as a published price tells. Pure.

US dollars, us-east-1, on demand; other regions differ by a fifth and more. NAT gateway, interface endpoints and public
addresses as pages of 2026-06 tell them; SCRATCH_2 and the 125 MB/s tier of FSx for Lustre as undated pages do.
UNVERIFIED, as no page was at hand: FSx's other tiers, EFS, ECR, S3, a notebook's storage, ml.t3.medium and
ml.t3.xlarge. What is paid by use (gigabytes moved and kept, requests) is named and not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cloud.templates import Tree
from training_job import instance_types

PRICES_OF = "us-east-1, some unverified: docs/stacks.md"
_HOURS = 730
"""Of a month, as AWS counts them."""

_ENDPOINT = 0.01
_NAT = 0.045
_ADDRESS = 0.005
_SCRATCH_2 = 0.14
"""For a GB and month, like those that follow."""
_PERSISTENT_2 = {125: 0.145, 250: 0.21, 500: 0.34, 1000: 0.6}
"""By MB/s for each TiB."""
_NOTEBOOK_STORAGE = 0.14
_BY_USE = {
    "AWS::S3::Bucket": "$0.023 a GB and month of what is in it",
    "AWS::ECR::Repository": "$0.10 a GB and month of what is in it",
    "AWS::EFS::FileSystem": "$0.30 a GB and month of what is in it",
}
_NOTEBOOKS = {"ml.t3.medium": 0.05, "ml.t3.xlarge": 0.2}
"""Of types that no training price is known for; the others cost as much as in training."""


@dataclass(frozen=True)
class Cost:
    """What one resource costs: dollars an hour, or None where no price is known here or it is paid by use."""

    resource: str
    an_hour: float | None
    why: str


def costs(template: Tree, parameters: Mapping[str, str]) -> list[Cost]:
    """Whatever in a composed template costs, in its order. `parameters` are those not left to their defaults."""
    defaults = {name: declared.get("Default") for name, declared in template.get("Parameters", {}).items()}
    values = defaults | dict(parameters)
    found = (_cost(name, resource, values) for name, resource in template["Resources"].items())
    return [cost for cost in found if cost]


def total(found: Iterable[Cost]) -> float:
    """Dollars an hour of all that has a price."""
    return sum(cost.an_hour or 0 for cost in found)


def _cost(name: str, resource: Tree, values: Mapping[str, Any]) -> Cost | None:
    properties = resource.get("Properties", {})
    match resource["Type"]:
        case "AWS::EC2::VPCEndpoint" if properties["VpcEndpointType"] == "Interface":
            return Cost(name, _ENDPOINT, "interface endpoint in one zone, and $0.01 a GB")
        case "AWS::EC2::NatGateway":
            return Cost(name, _NAT, "NAT gateway, and $0.045 a GB")
        case "AWS::EC2::EIP":
            return Cost(name, _ADDRESS, "public address")
        case "AWS::FSx::FileSystem":
            return _lustre(name, values)
        case "AWS::SageMaker::NotebookInstance":
            return _notebook(name, values)
        case by_use if by_use in _BY_USE:
            return Cost(name, None, _BY_USE[by_use])
    return None


def _lustre(name: str, values: Mapping[str, Any]) -> Cost:
    kind, gigabytes = values["FsxDeploymentType"], int(values["FsxStorageCapacity"])
    price = _SCRATCH_2 if kind == "SCRATCH_2" else _PERSISTENT_2[int(values["FsxThroughput"])]
    return Cost(name, gigabytes * price / _HOURS, f"FSx for Lustre {kind}, {gigabytes:,} GiB, used or not")


def _notebook(name: str, values: Mapping[str, Any]) -> Cost:
    kind, gigabytes = values["NotebookInstanceType"], int(values["NotebookVolumeSize"])
    price = _NOTEBOOKS.get(kind)
    if price is None and kind in instance_types.NAMES:
        price = instance_types.instance_type(kind).price_per_hour
    if price is None:
        return Cost(name, None, f"{kind}: no price known here, and {gigabytes} GB that stay")
    return Cost(
        name, price + gigabytes * _NOTEBOOK_STORAGE / _HOURS, f"{kind} while it runs, and {gigabytes} GB that stay"
    )
