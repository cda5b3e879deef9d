"""AWS credentials inside a job: the user's own identity, short-lived, at the address that SageMaker's SDKs ask."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from docker import APIClient

from tests.container.conftest import SHELL, TENSORFLOW, Ran, Shell, printed, wait_for
from tests.s3_server import moto_s3

_ASK = """
import json, boto3
found = boto3.Session().get_credentials()
print(json.dumps([found.method, *found.get_frozen_credentials()]))
"""
_UNTIL_RENEWED = """
import boto3
found = boto3.Session().get_credentials()
first = found.get_frozen_credentials().access_key
while (now := found.get_frozen_credentials().access_key) == first:
    pass
print(f"{first} then {now}")
"""
# Before the endpoint is there the address is somebody else's.
_BY_SHELL = """
tries=0
until grep -q 169.254.170.2 /proc/net/fib_trie || [ $((tries += 1)) = 100 ]; do sleep 0.1; done
sleep 0.1
for path in $AWS_CONTAINER_CREDENTIALS_RELATIVE_URI /latest/meta-data
do bash -c "exec 3<>/dev/tcp/169.254.170.2/80 && printf 'GET $path HTTP/1.1\\r\\n\\r\\n' >&3 && head -1 <&3"
done
"""
_ROLE = "arn:aws:iam::123456789012:role"


class Person(Shell):
    """Somebody with AWS profiles, whose jobs run a Python program in the training image."""

    def __init__(self, folder: Path, image: str, sts: str) -> None:
        super().__init__(folder, image)
        self.environ = {
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
            "AWS_CONFIG_FILE": str(folder / "config"),
            "AWS_ENDPOINT_URL_STS": sts,
        }
        (folder / "credentials").write_text(
            "[default]\naws_access_key_id = AKIALONGLIVED\naws_secret_access_key = lasts-long\n"
        )
        roles = (
            f"[profile {name}]\nrole_arn = {_ROLE}/{name}\nsource_profile = default\n" for name in ("alice", "bob")
        )
        (folder / "config").write_text("".join(roles))

    def profile(self, name: str, text: str) -> None:
        """One more profile."""
        with (self.folder / "config").open("a") as config:
            config.write(f"[profile {name}]\n{text}\n")

    def python(self, program: str, hosts: int = 1) -> Path:
        """A job that runs a program in the training image."""
        (self.folder / "fsx" / "program.py").write_text(program)
        started = 'container_entry_point = ["python3", "/opt/ml/input/data/code/program.py"]'
        path = self.job(hosts=hosts, more=f'{started}\n[inputs]\ncode = "fsx://training-data"')
        path.write_text(path.read_text().replace(SHELL, TENSORFLOW))
        return path

    def begin(
        self, job: Path, *arguments: str, environ: dict[str, str] | None = None
    ) -> tuple[str, subprocess.Popen[str]]:
        return super().begin(job, *arguments, environ=self.environ | (environ or {}))


@pytest.fixture(scope="module")
def sts() -> Iterator[str]:
    """moto's, on loopback."""
    with moto_s3() as url:
        yield url


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch, shell_image: str, tmp_path: Path, sts: str) -> Person:
    """Somebody whose own AWS settings do not reach here. An image with Python is named by the job."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return Person(tmp_path, shell_image, sts)


def identity(ran: Ran, sts: str, host: str = "algo-1") -> tuple[str, str, str]:
    """How a host found its credentials, what kind of key they have, and who has them in STS's eyes."""
    method, key, secret, token, *_ = json.loads(ran.log(host))
    asked = boto3.Session().client(
        "sts",
        endpoint_url=sts,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )
    return method, key, asked.get_caller_identity()["Arn"]


def test_every_host_has_the_identity_of_the_users_role(person: Person, sts: str) -> None:
    ran = person.train(person.python(_ASK, hosts=3), environ={"AWS_PROFILE": "alice"})

    assert ran.code == 0, ran.out
    for host in ("algo-1", "algo-2", "algo-3"):
        method, key, arn = identity(ran, sts, host)
        assert (method, key[:4]) == ("container-role", "ASIA")
        assert arn.startswith("arn:aws:sts::123456789012:assumed-role/alice/")
    assert ran.out.count("AWS credentials lent to the job, which asked for some: profile alice") == 1


def test_long_lived_keys_become_a_session(person: Person, sts: str) -> None:
    ran = person.train(person.python(_ASK))

    method, key, _ = identity(ran, sts)
    assert method == "container-role"
    assert key != "AKIALONGLIVED"
    assert "AKIALONGLIVED" not in ran.log()


def test_two_jobs_at_once_have_an_identity_each(person: Person, sts: str) -> None:
    job = person.python(_ASK)

    begun = [person.begin(job, environ={"AWS_PROFILE": name}) for name in ("alice", "bob")]

    roles = [identity(person.end(name, process), sts)[2].split("/")[1] for name, process in begun]
    assert roles == ["alice", "bob"]


def test_credentials_are_renewed_when_they_end(person: Person, tmp_path: Path) -> None:
    vend = tmp_path / "vend.py"
    vend.write_text(
        "import json, uuid, datetime\n"
        "end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)\n"
        "print(json.dumps(dict(Version=1, AccessKeyId=f'ASIA{uuid.uuid4().hex}', SecretAccessKey='s', "
        "SessionToken='t', Expiration=end.isoformat())))\n"
    )
    person.profile("vended", f"credential_process = {sys.executable} {vend}")

    ran = person.train(person.python(_UNTIL_RENEWED), environ={"AWS_PROFILE": "vended"})

    assert re.fullmatch(r"(ASIA\w+) then (?!\1)ASIA\w+\n", ran.log()), ran.log()


def test_an_expired_sign_in_is_told_once_with_what_to_do_and_to_the_jobs_sdk(person: Person) -> None:
    person.profile(
        "sso",
        "sso_session = mine\nsso_account_id = 123456789012\nsso_role_name = Trainer\n[sso-session mine]\n"
        "sso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start",
    )

    ran = person.train(person.python(_ASK, hosts=2), environ={"AWS_PROFILE": "sso"})

    assert ran.code == 1
    assert ran.out.replace("algo-", "\nalgo-").count("\n  the job asks for AWS credentials, and there are none") == 1
    assert "aws sso login --profile sso" in ran.out
    assert "Received non 200 response 500 from container metadata" in ran.log()
    assert "aws sso login --profile sso" in ran.log()


def test_an_expired_sign_in_fails_no_job_that_needs_no_aws(person: Person) -> None:
    person.profile("gone", "credential_process = /nowhere/at/all")

    ran = person.train(person.job("true"), environ={"AWS_PROFILE": "gone"})

    assert ran.code == 0
    assert "credentials" not in ran.out


def test_an_image_without_python_is_served_by_one_of_ours(person: Person) -> None:
    ran = person.train(person.job(_BY_SHELL))

    assert ran.log().split() == ["HTTP/1.1", "200", "-", "HTTP/1.1", "404", "-"]


def test_an_isolated_job_gets_none(person: Person) -> None:
    asks = "timeout 1 bash -c '</dev/tcp/169.254.170.2/80' || echo none"
    script = f"echo ${{AWS_CONTAINER_CREDENTIALS_RELATIVE_URI-none}}; {asks}"

    ran = person.train(person.job(script, more="[request]\nEnableNetworkIsolation = true"))

    assert ran.code == 0, ran.err
    assert ran.log().splitlines()[0] == ran.log().splitlines()[-1] == "none"


@pytest.mark.parametrize("how", ["flag", "file", "no profile"])
def test_a_job_gets_none_where_somebody_said_so_or_there_are_none(person: Person, how: str) -> None:
    environ: dict[str, str] = {}
    if how == "file":
        with (person.folder / "homeport.toml").open("a") as place:
            place.write("[local]\ncredentials = false\n")
    if how == "no profile":
        environ = {"AWS_SHARED_CREDENTIALS_FILE": "/no", "AWS_CONFIG_FILE": "/no", "AWS_EC2_METADATA_DISABLED": "true"}
    flags = ["--no-credentials"] * (how == "flag")

    ran = person.train(person.job("echo ${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI-none}"), *flags, environ=environ)

    assert ran.log() == "none\n"


def test_a_killed_harness_takes_the_endpoint_with_it(
    person: Person, api: APIClient, left: Callable[[], list[str]]
) -> None:
    name, process = person.begin(person.job("echo ready; sleep 300", hosts=2))

    def beside() -> list[str]:
        chosen = {"label": [f"homeport.job={name}", "homeport.beside"], "status": "running"}
        return [container["Id"] for container in api.containers(filters=chosen)]

    wait_for(lambda: len(beside()) == 2 and printed(person.folder / "runs" / name, "ready")())

    process.kill()
    process.communicate()

    wait_for(lambda: beside() == [], seconds=10)
    assert person.train(person.job("true")).code == 0
    assert left() == []
