"""What the engine and registries say when they refuse, as a person is told it."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from docker.errors import APIError
from docker.errors import ImageNotFound as NotThere
from requests.exceptions import ConnectionError as NoConnection

from cloud.aws import ONLY_LOOPBACK
from cloud.engine_images import Dropped, EngineImages, NoRepository, SignInRefused
from cloud.images import LocalImage, SignIn, TagTaken
from training_job.errors import AccountCannot, EngineFailed, HomeportError, ImageNotFound, MachineCannot

IMAGE = LocalImage("team/image:1", f"sha256:{'a' * 64}", "", 1)
TARGET = "host/team/image:1"
SIGN_IN = SignIn("AWS", "secret")


class FakeApi:
    """docker-py's client, as far as it is used. `told` is what a push says; an exception is raised."""

    def __init__(self, *told: dict[str, Any] | Exception, names: tuple[str, ...] = ("team/image:1", TARGET)) -> None:
        self._told = told
        self._names = list(names)
        self.removed: list[str] = []
        self.handed: list[dict[str, str]] = []

    def tag(self, *_: str) -> None:
        pass

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name == "nothing":
            raise NotThere("no such image")
        return {"Id": IMAGE.id, "Size": 7, "RepoTags": self._names, "Config": {"Labels": None}}

    def remove_image(self, name: str, **_: object) -> None:
        self.removed.append(name)

    def push(self, _: str, auth_config: dict[str, str], **__: object) -> Iterator[dict[str, Any]]:
        self.handed.append(auth_config)
        for each in self._told:
            if isinstance(each, Exception):
                raise each
            yield each


@pytest.mark.parametrize(
    ("words", "kind", "remedy"),
    [
        ("denied: Your authorization token has expired. Reauthenticate and try again.", SignInRefused, "new sign-in"),
        ("no basic auth credentials", SignInRefused, "new sign-in"),
        ("denied: User: arn:… is not authorized to perform: ecr:InitiateLayerUpload", SignInRefused, "your role lacks"),
        ("tag invalid: The image tag '1' already exists … the repository is immutable.", TagTaken, "describe-images"),
        ("name unknown: The repository with name 'x' does not exist in the registry", NoRepository, "which creates it"),
        ("write /var/lib/docker/tmp/x: no space left on device", MachineCannot, "docker system df"),
        ("EOF", Dropped, "not sent a second time"),
        ("write tcp 10.0.0.1:1: write: connection reset by peer", Dropped, "not sent a second time"),
        ("dial tcp: lookup x on 10.0.0.2:53: no such host", Dropped, "not sent a second time"),
        ("received unexpected HTTP status: 503 Service Unavailable", Dropped, "not sent a second time"),
        ("toomanyrequests: Rate exceeded", Dropped, "not sent a second time"),
        ("An image does not exist locally with the tag: host/team/image", Dropped, "Push again"),
        ("something never seen", EngineFailed, "could not send"),
    ],
)
def test_a_refusal_says_what_to_do(words: str, kind: type[HomeportError], remedy: str) -> None:
    images = EngineImages(FakeApi({"status": "Preparing"}, {"error": words}))

    with pytest.raises(kind) as raised:
        images.push(IMAGE, TARGET, SIGN_IN, lambda _: None)

    assert type(raised.value) is kind
    assert str(raised.value).startswith(f"{TARGET}: {words.rstrip('.')}")
    assert remedy in str(raised.value)
    assert SIGN_IN.password not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoConnection("gone"), r"the engine no longer answers.*docker/engine\.sh"),
        (APIError("no", explanation="the daemon is shutting down"), "the daemon is shutting down"),
    ],
)
def test_an_engine_that_goes_away_is_told(error: Exception, message: str) -> None:
    with pytest.raises(EngineFailed, match=message):
        EngineImages(FakeApi(error)).push(IMAGE, TARGET, SIGN_IN, lambda _: None)


def test_a_push_that_ends_without_a_digest_is_not_taken_for_one_that_worked() -> None:
    with pytest.raises(Dropped, match="without the registry's word"):
        EngineImages(FakeApi({"status": "Pushed", "id": "ab12"})).push(IMAGE, TARGET, SIGN_IN, lambda _: None)


def test_the_sign_in_is_handed_over_with_the_request_and_the_name_goes_after_it() -> None:
    api = FakeApi({"status": "1: digest"}, {"progressDetail": {}, "aux": {"Digest": "sha256:00"}})
    steps: list[Any] = []

    digest = EngineImages(api).push(IMAGE, TARGET, SIGN_IN, steps.append)

    assert digest == "sha256:00"
    assert api.handed == [{"username": "AWS", "password": "secret"}]
    assert api.removed == [TARGET]
    assert len(steps) == 2


def test_an_image_that_was_built_anew_meanwhile_keeps_its_last_name() -> None:
    api = FakeApi({"aux": {"Digest": "sha256:00"}}, names=(TARGET,))

    EngineImages(api).push(IMAGE, TARGET, SIGN_IN, lambda _: None)

    assert api.removed == []


def test_an_image_without_labels_has_no_version() -> None:
    assert EngineImages(FakeApi()).find("team/image:1") == LocalImage("team/image:1", IMAGE.id, "", 7)


def test_an_image_that_is_not_here_is_not_found() -> None:
    with pytest.raises(ImageNotFound, match="nothing: not on this machine, and only what is here can be sent"):
        EngineImages(FakeApi()).find("nothing")


@pytest.mark.parametrize(
    ("host", "goes"),
    [("127.0.0.1:5000", True), ("localhost:5000", True), ("123456789012.dkr.ecr.us-west-2.amazonaws.com", False)],
)
def test_while_stand_ins_are_in_use_nothing_goes_elsewhere(
    host: str, goes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ONLY_LOOPBACK, "1")
    api = FakeApi({"aux": {"Digest": "sha256:00"}})

    with nullcontext() if goes else pytest.raises(AccountCannot, match=f"push {host}: refused"):
        EngineImages(api).push(IMAGE, f"{host}/team/image:1", SIGN_IN, lambda _: None)

    assert bool(api.handed) is goes
