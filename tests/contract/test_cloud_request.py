"""Whatever stands in a job file, it is a request that botocore's service model takes, or a refusal."""

from pathlib import Path
from typing import Any

import pytest
import regex
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from cloud.place import read_cloud_place
from cloud.request import checked, create_training_job_request
from tests.fakes import NOW, REGION
from tests.unit.test_cloud_request import ACCOUNT, IMAGE
from training_job import instance_types
from training_job.errors import JobRefused
from training_job.job_file import read_job
from training_job.s3_uri import S3Uri

ROOT = Path(__file__).parents[2]
JOB_FILES = sorted(set((ROOT / "entrypoints").glob("*/*.toml")) - set((ROOT / "entrypoints").glob("*/compare.toml")))
_WORD = st.from_regex(r"[a-z][a-z0-9]{1,30}", fullmatch=True)
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60)


def mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """So seldom bad that half of the jobs are good in all their keys."""
    return st.sampled_from([good] * 24 + [bad]).flatmap(lambda chosen: chosen)


_SECONDS = mostly(st.integers(1, 20_000), st.integers(-1, 3_000_000))
_S3 = st.builds("s3://{}/{}".format, _WORD, _TEXT)
_URI = mostly(
    st.one_of(_S3, st.builds("fsx://training-data/{}".format, _WORD), st.builds("efs://home/{}".format, _WORD)),
    st.sampled_from(["file://.", "fsx://no/path", "efs://training-data/x", "s3://", "http://a/b"]),
)
_MODE = st.sampled_from(["File", "Pipe", "FastFile", "x"])
_CHANNEL = st.one_of(_URI, mostly(st.fixed_dictionaries({"uri": _URI}), st.builds(dict, uri=_URI, input_mode=_MODE)))
_METRIC = st.fixed_dictionaries(
    {"name": mostly(_WORD, _TEXT), "regex": mostly(st.just("a: (.*)"), st.sampled_from(["a", "("]))}
)
_SPOT = mostly(
    st.sampled_from([{}, {"use_spot_instances": True}, {"use_spot_instances": True, "max_wait": 3_000_000}]),
    st.fixed_dictionaries({"max_wait": _SECONDS}, optional={"use_spot_instances": st.booleans()}),
)
_JOB = st.fixed_dictionaries(
    {
        "name": mostly(_WORD, _TEXT),
        "image": st.just("homeport/tensorflow"),
        "instance_type": mostly(st.sampled_from(instance_types.NAMES), st.just("ml.none")),
    },
    optional={
        "instance_count": mostly(st.integers(1, 40), st.integers(-1, 0)),
        "max_run": _SECONDS,
        "volume_size": mostly(st.integers(1, 20_000), st.just(-1)),
        "keep_alive_period_in_seconds": mostly(st.just(0), _SECONDS),
        "entry_point": mostly(_WORD, _TEXT),
        "hyperparameters": st.dictionaries(_TEXT, st.one_of(_TEXT, st.integers(), st.booleans()), max_size=4),
        "environment": st.dictionaries(mostly(_WORD, _TEXT), _TEXT, max_size=3),
        "tags": st.dictionaries(mostly(_WORD, _TEXT), mostly(_WORD, _TEXT), max_size=3),
        "inputs": st.dictionaries(mostly(_WORD, _TEXT), _CHANNEL, max_size=3),
        "output_path": mostly(_S3, _URI),
        "checkpoint_s3_uri": mostly(_S3, _URI),
        "enable_network_isolation": st.booleans(),
        "max_retry_attempts": mostly(st.integers(1, 30), st.integers(0, 40)),
        "metric_definitions": st.lists(_METRIC, max_size=2),
    },
)


def sent(path: Path) -> dict[str, Any] | JobRefused:
    """The request of a job file, or what speaks against it."""
    try:
        request = create_training_job_request(
            read_job(path, now=NOW, region=REGION), ACCOUNT, stack="homeport", image=IMAGE
        )
        checked(request)
    except JobRefused as refused:
        return refused
    return request


def toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def faults_of(request: dict[str, Any], service: ServiceModel) -> str:
    """botocore's own report, and what its patterns and lengths say, which it does not look at."""
    shape = service.shape_for("CreateTrainingJobRequest")
    report: str = ParamValidator().validate(request, shape).generate_report()
    return "\n".join([report, *_beyond(request, shape, "")]).strip()


def _beyond(value: Any, shape: Shape, where: str) -> list[str]:
    if shape.type_name == "structure":
        return [
            each for name, inner in value.items() for each in _beyond(inner, shape.members[name], f"{where}.{name}")
        ]
    if shape.type_name == "list":
        return [each for inner in value for each in _beyond(inner, shape.member, f"{where}[]")]
    if shape.type_name == "map":
        pairs = ((key, shape.key) for key in value), ((inner, shape.value) for inner in value.values())
        return [each for pair in pairs for one, of in pair for each in _beyond(one, of, f"{where}{{}}")]
    if shape.type_name != "string":
        return []
    pattern = shape.metadata.get("pattern")
    long = len(value) > shape.metadata.get("max", len(value))
    other = pattern and not regex.fullmatch(pattern, value)
    unknown = shape.metadata.get("enum") and value not in shape.metadata["enum"]
    return [f"{where}: {value!r}"] if long or other or unknown else []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.builds(dict.__or__, _JOB, _SPOT))
def test_a_job_file_is_a_valid_request_or_a_refusal(
    table: dict[str, Any], tmp_path: Path, service: ServiceModel
) -> None:
    path = tmp_path / "job.toml"
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in table.items()))

    request = sent(path)
    event("refused" if isinstance(request, JobRefused) else "sent")

    assert request.faults if isinstance(request, JobRefused) else faults_of(request, service) == ""


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_job_of_this_repository_can_be_sent(path: Path, service: ServiceModel) -> None:
    job = read_job(path, now=NOW, region=read_cloud_place(ROOT, {}).region)

    request = create_training_job_request(
        job, ACCOUNT, stack="homeport", image=IMAGE, source=S3Uri("my-bucket", "source/1/")
    )

    assert checked(request).training_job_name == job.training_job_name
    assert faults_of(request, service) == ""
