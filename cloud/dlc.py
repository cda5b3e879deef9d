"""SageMaker's own training images (Deep Learning Containers): where each lies, for every region.

Standard library only, and Python 3.9: docker/image.sh runs it with whatever python3 is there, before any .venv.

Sources, read on 2026-11-21. Accounts: `image_uri_config/{tensorflow,pytorch}.json` of the SageMaker SDK 2.257.7, which
has GovCloud and the isolated regions too, and `docs/reference/region_availability.md` of aws/deep-learning-containers
at 18d714e, which has me-west-1. Versions and tags: the same files up to TensorFlow 2.18 and PyTorch 2.8;
`docs/src/data/{tensorflow,pytorch}-training/*-sagemaker.yml` of that repository for those after, and for what the
public gallery has. A contract test compares it with the SDK.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass

PUBLIC = "public.ecr.aws/deep-learning-containers"
"""The gallery: no sign-in, no region. SageMaker itself takes no image from it."""

_MOST = "763104351884"
_ACCOUNTS = {
    **dict.fromkeys(("us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"), _MOST),
    **dict.fromkeys(("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3"), _MOST),
    **dict.fromkeys(("ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2"), _MOST),
    "af-south-1": "626614931356",
    "ap-east-1": "871362719292",
    "ap-east-2": "975050140332",
    "ap-northeast-3": "364406365360",
    "ap-south-2": "772153158452",
    "ap-southeast-3": "907027046896",
    "ap-southeast-4": "457447274322",
    "ap-southeast-5": "550225433462",
    "ap-southeast-6": "633930458069",
    "ap-southeast-7": "590183813437",
    "ca-west-1": "204538143572",
    "eu-central-2": "380420809688",
    "eu-south-1": "692866216735",
    "eu-south-2": "503227376785",
    "il-central-1": "780543022126",
    "me-central-1": "914824155844",
    "me-south-1": "217643126080",
    "me-west-1": "124382933778",
    "mx-central-1": "637423239942",
    "cn-north-1": "727897471807",
    "cn-northwest-1": "727897471807",
    "us-gov-east-1": "446045086412",
    "us-gov-west-1": "442386744353",
    "us-iso-east-1": "886529160074",
    "us-isob-east-1": "094389454867",
    "us-isof-east-1": "303241398832",
    "us-isof-south-1": "454834333376",
}

# The partitions' domains, by how their regions begin; longest first.
_DOMAINS = (
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-iso-", "c2s.ic.gov"),
    ("eusc-", "amazonaws.eu"),
    ("cn-", "amazonaws.com.cn"),
    ("", "amazonaws.com"),
)


@dataclass(frozen=True)
class _Version:
    """A version's Python, how its tag ends, and whether the public gallery has it."""

    python: str
    ending: str = ""
    public: bool = False


_LISTED = _Version("py312", "-sagemaker", public=True)
_VERSIONS = {
    "tensorflow": {
        **dict.fromkeys(("2.4.1", "2.4.3", "2.5.0", "2.5.1"), _Version("py37")),
        **dict.fromkeys(("2.6.0", "2.6.2", "2.6.3", "2.7.1"), _Version("py38")),
        **dict.fromkeys(("2.8.0", "2.9.2", "2.10.1", "2.11.0"), _Version("py39")),
        **dict.fromkeys(("2.12.0", "2.13.0", "2.14.1", "2.16.2", "2.18.0"), _Version("py310")),
        **dict.fromkeys(("2.19.0", "2.21.0"), _LISTED),
    },
    "pytorch": {
        **dict.fromkeys(("1.9.0", "1.9.1", "1.10.0", "1.10.2", "1.11.0", "1.12.0", "1.12.1"), _Version("py38")),
        "1.13.1": _Version("py39"),
        **dict.fromkeys(("2.0.0", "2.0.1", "2.1.0", "2.2.0"), _Version("py310")),
        **dict.fromkeys(("2.3.0", "2.4.0", "2.5.1"), _Version("py311")),
        **dict.fromkeys(("2.6.0", "2.7.1", "2.8.0", "2.9.0"), _Version("py312", public=True)),
        "2.10.0": _Version("py313", public=True),
    },
}
DEVICES = ("cpu", "gpu")

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z]+(-[a-z]+)+-\d+)\."
    r"(amazonaws\.com(\.cn)?|amazonaws\.eu|on\.aws|on\.amazonwebservices\.com\.cn|[a-z0-9.-]+\.gov|cloud\.adc-e\.uk)"
)


class UnknownImage(ValueError):
    """There is no such image, and which there are instead."""


@dataclass(frozen=True)
class Registry:
    """An account's registry in a region."""

    account: str
    region: str

    @property
    def host(self) -> str:
        """Its name, in the domain of the region's partition."""
        domain = next(domain for begin, domain in _DOMAINS if self.region.startswith(begin))
        return f"{self.account}.dkr.ecr.{self.region}.{domain}"

    @classmethod
    def of(cls, image: str) -> Registry | None:
        """The ECR registry that an image's name begins with, the FIPS and dual-stack hosts too; None for any other."""
        found = _ECR.fullmatch(image.partition("/")[0])
        return cls(found["account"], found["region"]) if found else None


@dataclass(frozen=True)
class DeepLearningContainer:
    """What an image's name says when it is one of SageMaker's own."""

    registry: Registry
    framework: str
    version: str
    device: str
    python: str


def versions(framework: str) -> tuple[str, ...]:
    """The versions of `tensorflow` or `pytorch` with an image, oldest first. Raises UnknownImage."""
    if framework not in _VERSIONS:
        raise UnknownImage(f"{framework}: SageMaker's images here are for {' and '.join(_VERSIONS)}")
    return tuple(_VERSIONS[framework])


def registry_of(region: str) -> Registry:
    """Where SageMaker's own images lie for a region; one signs in to that account. Raises UnknownImage."""
    if region not in _ACCOUNTS:
        raise UnknownImage(
            f"region {region}: no registry of SageMaker's images is known there, of {', '.join(_ACCOUNTS)}"
        )
    return Registry(_ACCOUNTS[region], region)


def regions() -> tuple[str, ...]:
    """Every region with a registry of SageMaker's images."""
    return tuple(_ACCOUNTS)


def image_uri(framework: str, version: str, device: str, region: str) -> str:
    """The name of a training image, such as `…/tensorflow-training:2.11.0-gpu-py39`. `2.11` is `2.11.0`.

    Raises UnknownImage.
    """
    full, known = _version(framework, version)
    return f"{registry_of(region).host}/{framework}-training:{_tag(full, known, device)}"


def public_uri(framework: str, version: str, device: str) -> str | None:
    """Its name in the public gallery, None where that has not got it. Raises UnknownImage."""
    full, known = _version(framework, version)
    return f"{PUBLIC}/{framework}-training:{_tag(full, known, device)}" if known.public else None


def parse(image: str) -> DeepLearningContainer | None:
    """What the name of one of SageMaker's training images says; None for any other name."""
    registry = Registry.of(image)
    found = re.fullmatch(r"(\w+)-training:([\d.]+)-(cpu|gpu)-(py\d+)(-.*)?", image.partition("/")[2])
    if registry is None or found is None or _ACCOUNTS.get(registry.region) != registry.account:
        return None
    return DeepLearningContainer(registry, *found.groups()[:4])


def sign_in_command(image: str) -> str:
    """What a person runs to pull it with the docker CLI."""
    host = image.partition("/")[0]
    if registry := Registry.of(image):
        password = f"aws ecr get-login-password --region {registry.region}"
        return f"{password} | docker login --username AWS --password-stdin {host}"
    return f"docker login {host}"


def _version(framework: str, version: str) -> tuple[str, _Version]:
    known = versions(framework)
    full = next((each for each in reversed(known) if each == version or each.startswith(f"{version}.")), None)
    if full is None:
        raise UnknownImage(f"{framework} {version}: SageMaker has a training image for {', '.join(known)}")
    return full, _VERSIONS[framework][full]


def _tag(full: str, known: _Version, device: str) -> str:
    if device not in DEVICES:
        raise UnknownImage(f"{device}: the images are for {' or '.join(DEVICES)}")
    return f"{full}-{device}-{known.python}{known.ending}"


def main() -> int:
    """Print the name of an image, or how to sign in for one."""
    parser = argparse.ArgumentParser(prog="cloud/dlc.py", description=main.__doc__)
    parser.add_argument("--sign-in", metavar="IMAGE")
    parser.add_argument("words", nargs="*", metavar="FRAMEWORK VERSION DEVICE REGION")
    asked = parser.parse_args()
    if asked.sign_in:
        print(sign_in_command(asked.sign_in))
        return 0
    if len(asked.words) != 4:
        parser.error("name the framework, its version, cpu or gpu, and the region")
    try:
        print(image_uri(*asked.words))
    except UnknownImage as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
