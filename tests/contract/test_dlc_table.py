"""The table of SageMaker's images against what others say of them: botocore's partitions, and the SDK's own table."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.session import Session

from benchmarks.sagemaker_sdk import VERSION
from cloud import dlc

_KEPT = Path(__file__).parents[2] / ".cache/toolkits"


@pytest.fixture(scope="module")
def sdk() -> zipfile.ZipFile:
    """The SDK's wheel. Only read: what it needs besides is large."""
    wheel = _KEPT / f"sagemaker-{VERSION}-py3-none-any.whl"
    if not wheel.exists():
        _KEPT.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", f"sagemaker=={VERSION}"]
        fetched = subprocess.run(command, cwd=_KEPT, capture_output=True, text=True, check=False)
        if fetched.returncode != 0:
            why = f"sagemaker {VERSION} cannot be had: {fetched.stderr.strip()[-300:]}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    return zipfile.ZipFile(wheel)


def _known(sdk: zipfile.ZipFile, framework: str) -> dict[str, dict[str, Any]]:
    """The SDK's table for training: version to its Python, repository and registries."""
    content = json.loads(sdk.read(f"sagemaker/image_uri_config/{framework}.json"))
    table: dict[str, dict[str, Any]] = content["training"]["versions"]
    return {version: row for version, row in table.items() if version in dlc.versions(framework)}


@pytest.mark.parametrize("region", dlc.regions())
def test_a_regions_domain_is_its_partitions(region: str) -> None:
    partitions = Loader().load_data("endpoints")["partitions"]
    suffix = next(each["dnsSuffix"] for each in partitions if re.match(each["regionRegex"], region))

    assert dlc.registry_of(region).host.endswith(f".dkr.ecr.{region}.{suffix}")


def test_every_region_of_sagemaker_has_a_registry() -> None:
    session = Session()
    everywhere = {
        region
        for partition in ("aws", "aws-cn", "aws-us-gov")
        for region in session.get_available_regions("sagemaker", partition)
    }

    assert everywhere - set(dlc.regions()) == set()


@pytest.mark.parametrize("framework", ["tensorflow", "pytorch"])
def test_every_image_of_the_sdk_has_the_same_name_here(sdk: zipfile.ZipFile, framework: str) -> None:
    known = _known(sdk, framework)
    assert len(known) > 15

    for version, row in known.items():
        for region, account in row["registries"].items():
            registry = dlc.Registry(account, region)
            (python,) = row["py_versions"]
            for device in dlc.DEVICES:
                theirs = f"{registry.host}/{row['repository']}:{version}-{device}-{python}"

                ours = dlc.image_uri(framework, version, device, region)

                assert ours.removesuffix("-sagemaker") == theirs
                assert (ours == theirs) or version == "2.19.0"
