"""Fetch one of SageMaker's own images, signed in for that alone, for docker/image.sh.

python -m cloud.base_image IMAGE
"""

from __future__ import annotations

import sys

from cloud.aws import Aws
from cloud.dlc import Registry
from cloud.engine_images import EngineImages
from cloud.images import Destination, Name
from cloud.registry import Ecr
from cloud.transfer_progress import TransferProgress
from training_job.errors import AccountCannot, HomeportError


def fetch(name: str, aws: Aws, engine: EngineImages, progress: TransferProgress) -> None:
    """Pull an image of an ECR registry, by its own region and account. Raises AccountCannot, EngineFailed."""
    registry = Registry.of(name)
    if registry is None:
        raise AccountCannot(f"{name} is in no registry of ECR: docker pull fetches it")
    ecr = Ecr.at(aws, Destination(registry, Name.parse(name).host))
    engine.pull(name, ecr.sign_in(), progress.step)


def main() -> int:
    """Fetch the image that the command names; its exit code."""
    (name,) = sys.argv[1:]
    registry = Registry.of(name)
    try:
        with TransferProgress("pull", sys.stdout) as progress:
            fetch(name, Aws(registry.region if registry else "us-west-2"), EngineImages.connect(), progress)
    except HomeportError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
