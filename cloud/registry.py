"""ECR, as its API has it: the sign-in, repositories with their settings, and which image a tag or digest is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import replace

from cloud.aws import Aws, Client
from cloud.aws_errors import told
from cloud.images import Destination, RegistryImage, SignIn, TagTaken, checked_digest
from cloud.request import PROJECT_TAG
from training_job.errors import AccountCannot

UNTAGGED_DAYS = 14
"""Days after which ECR drops images without a tag: those that a push left unfinished, or that lost it."""

_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
_LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": f"Images without a tag go after {UNTAGGED_DAYS} days.",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": UNTAGGED_DAYS,
            },
            "action": {"type": "expire"},
        }
    ]
}


class Ecr:
    """An account's registry, asked in its own region."""

    def __init__(self, ecr: Client, destination: Destination) -> None:
        self._ecr = ecr
        self._where = destination

    @classmethod
    def at(cls, aws: Aws, destination: Destination) -> Ecr:
        """The registry, whatever region the job is for: a sign-in is good in its own region only."""
        return cls(aws.in_region(destination.registry.region)("ecr"), destination)

    @property
    def host(self) -> str:
        """What its images' names begin with."""
        return self._where.host

    def sign_in(self) -> SignIn:
        """What the registry lets in, for 12 hours (API: GetAuthorizationToken). Raises AccountCannot."""
        with self._told("signing in to"):
            token = self._ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        try:
            username, _, password = base64.b64decode(token).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise AccountCannot(
                f"{self.host}: its sign-in is not what ECR's is. Is registry in [cloud] right?"
            ) from None
        return SignIn(username, password)

    def ensure_repository(self, name: str, stack: str) -> bool:
        """Create the repository where it is not there; True if it was not. One that is there keeps its settings.

        Raises AccountCannot.
        """
        with self._told(f"creating repository {name} in"):
            created = not self._has_repository(name) and self._create(name, stack)
            if created or self._lacks_policy(name, stack):
                text = json.dumps(_LIFECYCLE)
                self._ecr.put_lifecycle_policy(**self._of(name), lifecyclePolicyText=text)
        return created

    def find(self, repository: str, *, tag: str = "", digest: str = "") -> RegistryImage | None:
        """The image of a tag or digest; None where there is none, or no such repository. Raises AccountCannot."""
        which = {"imageDigest": digest} if digest else {"imageTag": tag}
        with self._told(f"looking for {repository} in"):
            try:
                answer = self._ecr.batch_get_image(
                    **self._of(repository), imageIds=[which], acceptedMediaTypes=list(_MANIFESTS)
                )
            except self._ecr.exceptions.RepositoryNotFoundException:
                return None
        if not answer["images"]:
            return None
        found = answer["images"][0]
        manifest = found["imageManifest"]
        digest = checked_digest(found["imageId"].get("imageDigest") or digest_of(manifest), f"{self.host}/{repository}")
        return RegistryImage(self.host, repository, tag, digest, _engine_id(manifest, digest))

    def tag(self, image: RegistryImage, tag: str) -> RegistryImage:
        """Give an image that is there one more tag; nothing is sent. Raises TagTaken where another has it."""
        found = self.find(image.repository, tag=tag)
        if found is None:
            self._put(image, tag)
        elif found.digest != image.digest:
            raise TagTaken(f"{found.by_tag} is another image, {found.digest}. Leave --tag out or give another")
        return replace(image, tag=tag)

    def _put(self, image: RegistryImage, tag: str) -> None:
        with self._told(f"tagging {image.repository} in"):
            which = [{"imageDigest": image.digest}]
            manifests = list(_MANIFESTS)
            answer = self._ecr.batch_get_image(
                **self._of(image.repository), imageIds=which, acceptedMediaTypes=manifests
            )
            manifest = answer["images"][0]
            self._ecr.put_image(
                **self._of(image.repository),
                imageManifest=manifest["imageManifest"],
                imageManifestMediaType=manifest["imageManifestMediaType"],
                imageTag=tag,
                imageDigest=image.digest,
            )

    def _told(self, doing: str) -> AbstractContextManager[None]:
        registry = self._where.registry
        return told(f"{doing} ECR of account {registry.account}", registry.region)

    def _of(self, repository: str) -> dict[str, str]:
        return {"registryId": self._where.registry.account, "repositoryName": repository}

    def _has_repository(self, name: str) -> bool:
        asked = {"registryId": self._where.registry.account, "repositoryNames": [name]}
        try:
            return bool(self._ecr.describe_repositories(**asked)["repositories"])
        except self._ecr.exceptions.RepositoryNotFoundException:
            return False

    def _create(self, name: str, stack: str) -> bool:
        try:
            self._ecr.create_repository(
                **self._of(name),
                imageTagMutability="IMMUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
                encryptionConfiguration={"encryptionType": "AES256"},
                tags=[{"Key": PROJECT_TAG, "Value": stack}],
            )
        except self._ecr.exceptions.RepositoryAlreadyExistsException:
            # Somebody else's push was quicker.
            return False
        return True

    def _lacks_policy(self, name: str, stack: str) -> bool:
        """Whether one of ours was created by a push that was killed before it had its policy."""
        try:
            self._ecr.get_lifecycle_policy(**self._of(name))
        except self._ecr.exceptions.LifecyclePolicyNotFoundException:
            asked = {"registryId": self._where.registry.account, "repositoryNames": [name]}
            arn = self._ecr.describe_repositories(**asked)["repositories"][0]["repositoryArn"]
            tags = self._ecr.list_tags_for_resource(resourceArn=arn)["tags"]
            return {"Key": PROJECT_TAG, "Value": stack} in tags
        return False


def digest_of(manifest: str) -> str:
    """The digest by which a registry knows what this text describes."""
    return f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"


def _engine_id(manifest: str, digest: str) -> str:
    """The id that an engine has for it: its configuration's digest; of a list of images, which an engine that keeps
    images as registries do sends, the list's own."""
    config = json.loads(manifest).get("config") or {}
    return str(config.get("digest", digest))
