"""Images go to ECR: a real engine, a real registry on loopback, and moto's ECR API before it."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from docker.errors import ImageNotFound as NotThere

from cloud import base_image, registry
from cloud.__main__ import main
from cloud.account import Account
from cloud.aws import ONLY_LOOPBACK, Aws
from cloud.dlc import Registry
from cloud.engine_images import Dropped, EngineImages, NoRepository, SignInRefused
from cloud.images import SignIn, TagTaken, destination_of, tag_of
from cloud.pushing import Pushed, image_for, push_image
from cloud.transfer_progress import TransferProgress
from container_engine.connection import connect
from tests.cloud.ecr_door import Cut
from tests.cloud.ecr_stand_in import ACCOUNT, KEYS, REGION, Ecr, aws_server, ecr_stand_in
from tests.registry import registry_program
from training_job.errors import AccountCannot, ImageNotFound, NoEngine
from training_job.job_file import read_job
from training_job.model import TrainingJob

ROOT = Path(__file__).parents[2]
NAME = f"homeport-test/push-{os.getpid()}"
STACK = "homeport-test"
MEGABYTE = 1_000_000


class Bench:
    """What a push needs, and what it says."""

    def __init__(self, aws: Aws, account: Account, job: TrainingJob) -> None:
        self.aws, self.account, self.job = aws, account, job
        self.said = io.StringIO()

    def push(self, tag: str | None = None, job: TrainingJob | None = None) -> Pushed:
        """Push with no pauses between the tries."""
        with TransferProgress("push", self.said) as progress:
            pushed = push_image(
                job or self.job, self.account, self.aws, EngineImages.connect, progress,
                stack=STACK, tag=tag, pauses=(0, 0, 0),
            )  # fmt: skip
        assert pushed is not None
        return pushed

    def find(self) -> str:
        """What cloud-train would send."""
        found = image_for(self.job, self.account, self.aws, EngineImages.connect)
        assert found is not None
        return found.by_digest


@pytest.fixture(scope="module")
def api() -> Iterator[APIClient]:
    try:
        client = connect().api
    except NoEngine as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield client
    client.close()


@pytest.fixture
def ecr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ecr]:
    program = registry_program()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("docker-registry cannot be had")
        pytest.skip("docker-registry cannot be had: apt-get download docker-registry")
    with ecr_stand_in(program, tmp_path) as stand_in, aws_server(stand_in.front) as url:
        stand_in.endpoint = url
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url, ONLY_LOOPBACK: "1"}.items():
            monkeypatch.setenv(name, value)
        yield stand_in


@pytest.fixture(scope="module")
def base(api: APIClient) -> Iterator[str]:
    """An image of 3 MB that no packing makes smaller, as the frameworks in ours."""
    name = f"{NAME}-base:1"
    api.import_image_from_data(_tar("framework", random.Random(os.getpid()).randbytes(3 * MEGABYTE)), repository=name)
    yield name
    api.remove_image(name, force=True)


@pytest.fixture
def build(api: APIClient, base: str) -> Iterator[Callable[[str], str]]:
    """Builds NAME:1 with this code on top of the base, as `make image` does after an edit."""

    built = set()

    def build(code: str) -> str:
        dockerfile = f"FROM {base}\nLABEL org.opencontainers.image.version=0.1.0\nCOPY code /opt/ml/code\n"
        context = io.BytesIO(_tar("Dockerfile", dockerfile.encode(), "code", code.encode()))
        steps = list(api.build(fileobj=context, custom_context=True, tag=f"{NAME}:1", rm=True, decode=True))
        assert not [step for step in steps if "error" in step], steps
        identifier: str = api.inspect_image(f"{NAME}:1")["Id"]  # type: ignore[no-untyped-call]
        built.add(identifier)
        return identifier

    yield build
    # What was pulled has a name of the registry's only.
    for identifier in built:
        with suppress(NotThere):
            api.remove_image(identifier, force=True)


@pytest.fixture
def bench(ecr: Ecr, tmp_path: Path) -> Bench:
    account = Account(ACCOUNT, REGION, f"arn:aws:iam::{ACCOUNT}:role/r", "bucket", registry=ecr.address)
    return Bench(Aws(REGION), account, _job(tmp_path, f"{NAME}:1"))


def _job(folder: Path, image: str) -> TrainingJob:
    file = folder / "job.toml"
    file.write_text(f'name = "job"\nimage = "{image}"\ninstance_type = "ml.m5.large"\n')
    return read_job(file, now=datetime(2026, 11, 21, tzinfo=UTC), region=REGION)


def _tar(*names_and_contents: Any) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, text in zip(names_and_contents[::2], names_and_contents[1::2], strict=True):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return content.getvalue()


def _tags(api: APIClient) -> list[str]:
    return [tag for image in api.images() for tag in image["RepoTags"] or () if NAME in tag and "-base" not in tag]


def test_an_image_is_sent_to_a_repository_that_is_created_with_its_settings(
    bench: Bench, ecr: Ecr, build: Callable[[str], str], api: APIClient
) -> None:
    identifier = build("print(1)")

    pushed = bench.push()

    repository = ecr.client.describe_repositories(repositoryNames=[NAME])["repositories"][0]
    assert (pushed.sent, pushed.created) == (True, True)
    assert pushed.image.tag == f"0.1.0-{identifier.removeprefix('sha256:')[:12]}"
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    assert repository["encryptionConfiguration"] == {"encryptionType": "AES256"}
    tags = ecr.client.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
    assert tags == [{"Key": "homeport", "Value": STACK}]
    policy = json.loads(ecr.client.get_lifecycle_policy(repositoryName=NAME)["lifecyclePolicyText"])
    assert [rule["selection"]["tagStatus"] for rule in policy["rules"]] == ["untagged"]
    assert _tags(api) == [f"{NAME}:1"]


def test_what_the_registry_has_is_the_image_that_was_tested(
    bench: Bench, ecr: Ecr, build: Callable[[str], str], api: APIClient
) -> None:
    identifier = build("print(1)")
    pushed = bench.push()
    api.remove_image(f"{NAME}:1", force=True)

    sign_in = registry.Ecr.at(bench.aws, destination_of(bench.account)).sign_in()
    EngineImages.connect().pull(pushed.image.by_digest, sign_in, lambda _: None)

    described = ecr.client.describe_images(repositoryName=NAME)["imageDetails"]
    assert [image["imageDigest"] for image in described] == [pushed.image.digest]
    assert api.inspect_image(pushed.image.by_digest)["Id"] == identifier  # type: ignore[no-untyped-call]
    assert pushed.image.id == identifier


def test_a_second_push_sends_nothing(bench: Bench, ecr: Ecr, build: Callable[[str], str]) -> None:
    build("print(1)")
    first = bench.push()
    ecr.sent, ecr.asked[:] = 0, []

    second = bench.push()

    assert second == Pushed(first.image)
    assert (ecr.sent, ecr.asked) == (0, ["BatchGetImage"])
    assert bench.find() == first.image.by_digest


def test_a_push_after_an_edit_sends_under_a_megabyte(bench: Bench, ecr: Ecr, build: Callable[[str], str]) -> None:
    build("print(1)")
    first = bench.push()
    assert ecr.sent > 3 * MEGABYTE
    ecr.sent = 0
    build("print(2)")

    second = bench.push()

    assert 0 < ecr.sent < MEGABYTE
    assert second.image.digest != first.image.digest
    assert not second.created
    assert "there already" in bench.said.getvalue()


def test_an_image_that_was_not_pushed_is_told_with_the_command_that_sends_it(
    bench: Bench, ecr: Ecr, build: Callable[[str], str]
) -> None:
    build("print(1)")

    with pytest.raises(AccountCannot, match=r"has no 0\.1\.0-[0-9a-f]{12}.*homeport-cloud push JOB"):
        bench.find()

    assert ecr.client.describe_repositories()["repositories"] == []


def test_an_image_that_is_not_built_is_told_before_anything_is_created(bench: Bench, ecr: Ecr, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound, match=r"homeport/nothing:1: not on this machine.*make image"):
        bench.push(job=_job(tmp_path, "homeport/nothing:1"))

    assert ecr.client.describe_repositories()["repositories"] == []


def test_a_tag_that_is_asked_for_is_one_more(bench: Bench, ecr: Ecr, build: Callable[[str], str]) -> None:
    build("print(1)")

    pushed = bench.push(tag="mine")

    (described,) = ecr.client.describe_images(repositoryName=NAME)["imageDetails"]
    assert pushed.image.by_tag == f"{ecr.address}/{NAME}:mine"
    assert (described["imageDigest"], len(described["imageTags"])) == (pushed.image.digest, 2)
    assert bench.find() == pushed.image.by_digest
    assert bench.push(tag="mine") == Pushed(pushed.image)


def test_a_tag_that_another_image_has_is_kept(bench: Bench, ecr: Ecr, build: Callable[[str], str]) -> None:
    build("print(1)")
    first = bench.push(tag="mine")
    build("print(2)")
    ecr.sent = 0

    with pytest.raises(TagTaken, match=rf"mine is another image than {NAME}:1: {first.image.digest}"):
        bench.push(tag="mine")

    assert ecr.sent == 0


def test_a_tag_that_another_push_took_meanwhile_is_kept(
    bench: Bench, ecr: Ecr, build: Callable[[str], str], api: APIClient
) -> None:
    build("print(1)")
    first = bench.push()
    (manifest,) = ecr.client.batch_get_image(repositoryName=NAME, imageIds=[{"imageTag": first.image.tag}])["images"]
    taken = tag_of(EngineImages.connect().find(build("print(2)")))

    def be_quicker() -> None:
        ecr.on_upload = lambda _: None
        ecr.enter(NAME, taken, manifest["imageManifest"].encode(), manifest["imageManifestMediaType"])

    ecr.on_upload = lambda _: be_quicker()

    with pytest.raises(TagTaken, match=f"{taken} is another image"):
        bench.push()

    assert _tags(api) == [f"{NAME}:1"]


def test_a_sign_in_that_runs_out_is_renewed_once(bench: Bench, ecr: Ecr, build: Callable[[str], str]) -> None:
    build("print(1)")
    ecr.lasts = timedelta(seconds=-1)

    def last_longer() -> None:
        ecr.lasts = timedelta(hours=12)

    ecr.refused = last_longer

    pushed = bench.push()

    assert pushed.sent
    assert ecr.asked.count("GetAuthorizationToken") == 2
    assert "token has expired" in bench.said.getvalue()


def test_a_sign_in_that_is_refused_again_is_told(
    bench: Bench, ecr: Ecr, build: Callable[[str], str], api: APIClient
) -> None:
    build("print(1)")
    ecr.lasts = timedelta(seconds=-1)

    with pytest.raises(SignInRefused, match=r"token has expired.*your role lacks ecr:"):
        bench.push()

    assert ecr.asked.count("GetAuthorizationToken") == 2
    assert ecr.sent == 0
    assert _tags(api) == [f"{NAME}:1"]


def test_a_wrong_password_sends_nothing(ecr: Ecr, build: Callable[[str], str]) -> None:
    build("print(1)")
    images = EngineImages.connect()

    with pytest.raises(SignInRefused, match="Push again for a new sign-in"):
        images.push(images.find(f"{NAME}:1"), f"{ecr.address}/{NAME}:1", SignIn("AWS", "wrong"), lambda _: None)

    assert ecr.sent == 0


def test_a_repository_that_is_not_there_takes_nothing(bench: Bench, ecr: Ecr, build: Callable[[str], str]) -> None:
    build("print(1)")
    images = EngineImages.connect()
    sign_in = registry.Ecr.at(bench.aws, destination_of(bench.account)).sign_in()

    with pytest.raises(NoRepository, match="does not exist in the registry with id"):
        images.push(images.find(f"{NAME}:1"), f"{ecr.address}/{NAME}:1", sign_in, lambda _: None)

    assert ecr.sent == 0


def test_a_layer_whose_connection_breaks_is_sent_again_and_is_whole(
    bench: Bench, ecr: Ecr, build: Callable[[str], str]
) -> None:
    identifier = build("print(1)")

    def cut(so_far: int) -> None:
        if so_far > MEGABYTE:
            ecr.on_upload = lambda _: None
            raise Cut

    ecr.on_upload = cut

    pushed = bench.push()

    assert pushed.image.id == identifier
    assert "the way broke off" in bench.said.getvalue()
    assert ecr.client.describe_images(repositoryName=NAME)["imageDetails"][0]["imageDigest"] == pushed.image.digest


def test_a_push_that_breaks_off_before_its_end_goes_on_without_sending_layers_again(
    bench: Bench, ecr: Ecr, build: Callable[[str], str]
) -> None:
    build("print(1)")
    sent_by_then = []

    def cut() -> None:
        ecr.on_manifest = lambda: None
        sent_by_then.append(ecr.sent)
        raise Cut

    ecr.on_manifest = cut

    pushed = bench.push()

    assert pushed.image.by_digest == bench.find()
    assert sent_by_then[0] > 3 * MEGABYTE
    assert ecr.sent - sent_by_then[0] < MEGABYTE


def test_a_push_whose_last_word_is_lost_is_found_to_be_done(
    bench: Bench, ecr: Ecr, build: Callable[[str], str]
) -> None:
    build("print(1)")

    def cut() -> None:
        raise Cut

    ecr.after_manifest = cut

    pushed = bench.push()

    assert pushed.image.by_digest == bench.find()
    assert ecr.manifests == 1


def test_a_push_that_never_gets_through_ends_with_what_to_do(
    bench: Bench, ecr: Ecr, build: Callable[[str], str], api: APIClient
) -> None:
    build("print(1)")

    def cut() -> None:
        raise Cut

    ecr.on_manifest = cut

    with pytest.raises(Dropped, match="Push again: what has arrived is not sent a second time"):
        bench.push()

    assert ecr.manifests == 4
    assert _tags(api) == [f"{NAME}:1"]
    ecr.on_manifest = lambda: None
    ecr.sent = 0
    assert bench.push().image.by_digest == bench.find()
    assert ecr.sent < MEGABYTE


def test_two_pushes_of_an_image_at_once_find_the_same(
    bench: Bench, ecr: Ecr, build: Callable[[str], str], api: APIClient
) -> None:
    build("print(1)")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: bench.push(), range(2))

    assert first.image == second.image
    assert len(ecr.client.describe_images(repositoryName=NAME)["imageDetails"]) == 1
    assert _tags(api) == [f"{NAME}:1"]


def test_an_image_of_another_repository_is_found_by_its_own_name(
    bench: Bench, ecr: Ecr, build: Callable[[str], str], tmp_path: Path
) -> None:
    build("print(1)")
    pushed = bench.push()
    ecr.asked[:] = []
    theirs = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{NAME}:{pushed.image.tag}"

    found = bench.push(job=_job(tmp_path, theirs))

    assert not found.sent
    assert found.image.digest == pushed.image.digest
    assert found.image.by_digest.startswith(f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{NAME}@sha256:")
    assert ecr.asked == ["BatchGetImage"]


def test_a_repository_that_a_killed_push_left_without_its_policy_gets_it(
    bench: Bench, ecr: Ecr, build: Callable[[str], str]
) -> None:
    build("print(1)")
    ecr.client.create_repository(repositoryName=NAME, tags=[{"Key": "homeport", "Value": STACK}])

    bench.push()

    assert "untagged" in ecr.client.get_lifecycle_policy(repositoryName=NAME)["lifecyclePolicyText"]


def test_somebody_elses_repository_keeps_its_settings(bench: Bench, ecr: Ecr, build: Callable[[str], str]) -> None:
    build("print(1)")
    ecr.client.create_repository(repositoryName=NAME)

    pushed = bench.push()

    assert pushed.sent
    assert "PutLifecyclePolicy" not in ecr.asked
    repository = ecr.client.describe_repositories(repositoryNames=[NAME])["repositories"][0]
    assert repository["imageTagMutability"] == "MUTABLE"


def test_the_password_is_nowhere_to_be_read(
    bench: Bench, ecr: Ecr, build: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("print(1)")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    bench.push()

    (password,) = ecr.passwords
    assert not (tmp_path / "docker").exists()
    assert password not in bench.said.getvalue()
    assert password not in repr(SignIn("AWS", password))


@pytest.fixture
def place(ecr: Ecr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a homeport.toml that names the account by hand."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "homeport.toml").write_text(
        f'[cloud]\nregion = "{REGION}"\nrole = "arn:aws:iam::{ACCOUNT}:role/r"\nbucket = "bucket"\n'
        f'registry = "{ecr.address}"\n'
    )
    monkeypatch.chdir(folder)
    return folder


def test_the_command_prints_the_digest_and_writes_it_into_the_rehearsals_record(
    ecr: Ecr, build: Callable[[str], str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place / "runs/rehearsal"
    run.mkdir(parents=True)
    (run / "plan.json").write_text(json.dumps({"image_id": build("print(1)")}))
    (run / "describe.json").write_text(json.dumps({"TrainingJobStatus": "Completed"}))
    _job(place, f"{NAME}:1")

    code = main(["push", "job.toml"])

    out, err = capsys.readouterr()
    digest = ecr.client.describe_images(repositoryName=NAME)["imageDetails"][0]["imageDigest"]
    assert (code, out) == (0, f"{ecr.address}/{NAME}@{digest}\n")
    assert [line.split()[0] for line in err.splitlines()[-3:]] == ["created", "sent", "rehearsed"]
    assert err.endswith("rehearsed    rehearsal\n")
    assert json.loads((run / "pushed.json").read_text())["Digest"] == digest


def test_the_command_says_that_nothing_here_has_run_with_the_image(
    ecr: Ecr, build: Callable[[str], str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build("print(1)")
    _job(place, f"{NAME}:1")

    main(["push", "job.toml"])
    main(["push", "job.toml", "--tag", "mine"])

    err = capsys.readouterr().err
    assert "no run here has completed with this image" in err
    assert f"there already {ecr.address}/{NAME}:mine" in err
    assert ecr.manifests == 1


def test_a_push_that_is_killed_amid_a_layer_is_done_by_the_next(
    ecr: Ecr, build: Callable[[str], str], place: Path, api: APIClient
) -> None:
    identifier = build("print(1)")
    _job(place, f"{NAME}:1")
    command = [sys.executable, "-m", "cloud", "push", "job.toml"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, env=environ, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def kill(so_far: int) -> None:
        if so_far > MEGABYTE:
            ecr.on_upload = lambda _: None
            first.kill()
            first.wait()

    ecr.on_upload = kill
    first.communicate()

    second = subprocess.run(command, env=environ, cwd=place, capture_output=True, text=True, check=False)

    (described,) = ecr.client.describe_images(repositoryName=NAME)["imageDetails"]
    assert first.returncode == -signal.SIGKILL
    assert (second.returncode, second.stdout) == (0, f"{ecr.address}/{NAME}@{described['imageDigest']}\n")
    manifest = ecr.client.batch_get_image(repositoryName=NAME, imageIds=[{"imageDigest": described["imageDigest"]}])
    assert json.loads(manifest["images"][0]["imageManifest"])["config"]["digest"] == identifier
    assert _tags(api) == [f"{NAME}:1"]


def test_an_image_of_amazons_is_fetched_with_its_own_registrys_sign_in(
    bench: Bench, ecr: Ecr, build: Callable[[str], str], api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    identifier = build("print(1)")
    pushed = bench.push()
    api.remove_image(f"{NAME}:1", force=True)
    monkeypatch.setattr(base_image.Registry, "of", lambda _: Registry(ACCOUNT, "eu-south-1"))

    base_image.fetch(pushed.image.by_digest, bench.aws, EngineImages.connect(), TransferProgress("pull", bench.said))

    assert api.inspect_image(pushed.image.by_digest)["Id"] == identifier  # type: ignore[no-untyped-call]
    assert ecr.regions == [REGION, "eu-south-1"]
