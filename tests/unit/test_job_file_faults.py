"""A bad job file: every fault at once, each with its place, what is allowed, and the nearest right spelling."""

import os
import sys
from pathlib import Path

import pytest

from tests.fakes import NOW, REGION
from tests.unit.conftest import ReadFaults
from training_job.errors import JobRefused
from training_job.job_file import Changes, read_job

GOOD = 'name = "x"\nimage = "i"\ninstance_type = "ml.p3.16xlarge"\n'


def refusal(path: Path, **changes: tuple[str, ...]) -> str:
    with pytest.raises(JobRefused) as refused:
        read_job(path, now=NOW, region=REGION, changes=Changes(**changes))
    return str(refused.value)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("instance_cuont = 2", "instance_cuont: is not known here; did you mean 'instance_count'?"),
        ("zzz = 2", "zzz: is not known here"),
        ('instance_count = "2"', "instance_count: must be a whole number, not '2'"),
        ("instance_count = 1.5", "instance_count: must be a whole number, not 1.5"),
        ("instance_count = true", "instance_count: must be a whole number, not True"),
        ("instance_count = 0", "instance_count: must be 1 or more"),
        ("instance_count = -1", "instance_count: must be 0 or more, not -1"),
        ("max_run = 0", "max_run: must be 1 or more, not 0"),
        (
            "keep_alive_period_in_seconds = 99999",
            "keep_alive_period_in_seconds: must be 21,600 or less, not 99999",
        ),
        ("max_wait = 10", "max_wait: 10 seconds must be at least MaxRuntimeInSeconds (86400)"),
        ("use_spot_instances = 1", "use_spot_instances: must be true or false, not 1"),
        ('subnets = "subnet-1"', "subnets: must be a list, not 'subnet-1'"),
        ('input_mode = "file"', "input_mode: 'file' is none of Pipe, File, FastFile; did you mean 'File'?"),
        ('output_path = "my-bucket"', "output_path: 'my-bucket' must match (https|s3)://([^/]+)/?(.*)"),
        ("container_log_level = 'debug'", "container_log_level: must be a whole number, not 'debug'"),
        ("environment = { A = 1 }", "environment.A: must be text, not 1"),
        ("environment = { Key = 1 }", "environment.Key: must be text, not 1"),
        ("environment = { API_KEY = 12345 }", "environment.API_KEY: must be text, not ********"),
        ("environment = { HF_TOKEN = ['hunter2'] }", "environment.HF_TOKEN: must be text, not ********"),
        ('environment = { a-b = "" }', "environment.a-b: 'a-b' must match [a-zA-Z_][a-zA-Z0-9_]*"),
        ("tags = 5", "tags: must be a list, not 5"),
        ('metric_definitions = [{ name = "a" }]', "metric_definitions[0].regex: is needed"),
        ('metric_definitions = [{ name = 1, regex = "a" }]', "metric_definitions[0].name: must be text, not 1"),
        (
            'metric_definitions = [{ name = "a", regexp = "a", regex = "a" }]',
            "metric_definitions[0].regexp: is not known here; did you mean 'Regex'?",
        ),
        ("request = 5", "request: must be a table of CreateTrainingJob's fields, not 5"),
        ("request.Tag = []", "request.Tag: is not known here; did you mean 'Tags'?"),
        (
            "request.enable_network_isolation = true",
            "request.enable_network_isolation: is not known here; did you mean 'EnableNetworkIsolation'?",
        ),
        ('request.SourceDir = "/etc"', "request.SourceDir: is not known here"),
        (
            "request.ResourceConfig.InstanceCount = 'two'",
            "request.ResourceConfig.InstanceCount: must be a whole number, not 'two'",
        ),
        ("request.InputDataConfig = [{}]", "request.InputDataConfig[0].ChannelName: is needed"),
        ("entry_point = 5", "entry_point: must be a path below the source directory, not 5"),
        ('source_dir = "src"', "source_dir: must be a directory, and needs an entry_point in it"),
        ("hyperparameters = 5", "hyperparameters: must be a table, not 5"),
    ],
)
def test_a_wrong_key_is_told_with_its_line(faults: ReadFaults, line: str, fault: str) -> None:
    found = faults(f"{GOOD}{line}")

    assert f"job.toml:4 {fault}" in found


@pytest.mark.parametrize(
    ("channel", "fault"),
    [
        ("5", "inputs.train: must be a URI or a table with one, not 5"),
        (
            "{}",
            "inputs.train.uri: is needed: fsx://NAME/path, efs://NAME/path, s3://bucket/prefix or file://directory",
        ),
        (
            '"fxs://data/train"',
            "inputs.train.uri: 'fxs://data/train' begins with none of s3://, fsx://, efs://, file://; "
            "did you mean 'fsx://'?",
        ),
        ('"/data"', "inputs.train.uri: '/data' begins with none of s3://, fsx://, efs://, file://"),
        ('"fsx:///train"', "inputs.train.uri: 'fsx:///train' names no file system: fsx://NAME/path, "),
        ('{ uri = "s3://b/p", access = "ro" }', "inputs.train.access: is for fsx:// and efs:// only"),
        ('{ uri = "file:///p", access = "ro" }', "inputs.train.access: is for fsx:// and efs:// only"),
        ('{ uri = "fsx://n/p", distribution = "x" }', "inputs.train.distribution: is for s3:// only"),
        ('{ uri = "fsx://n/p", acess = "rw" }', "inputs.train.acess: is not known here; did you mean 'access'?"),
        (
            '{ uri = "fsx://n/p", access = "w" }',
            "inputs.train.access: 'w' is none of rw, ro; did you mean 'rw'?",
        ),
        (
            '{ uri = "s3://b/p", distribution = "Sharded" }',
            "inputs.train.distribution: 'Sharded' is none of FullyReplicated, ShardedByS3Key",
        ),
        ('{ uri = "s3://b/p", shuffle_seed = "x" }', "inputs.train.shuffle_seed: must be a whole number, not 'x'"),
        ('"file://a\\u0000b"', "inputs.train.uri: 'file://a\\x00b' is no path"),
    ],
)
def test_a_wrong_channel_is_told_with_its_line(faults: ReadFaults, channel: str, fault: str) -> None:
    (found,) = faults(f"{GOOD}[inputs]\ntrain = {channel}")

    assert found.startswith(f"job.toml:5 {fault}")


def test_a_name_no_job_may_have_is_refused(faults: ReadFaults) -> None:
    assert faults(GOOD.replace('"x"', '"my_job"')) == [
        "job.toml:1 name: 'my_job-20261121-101530' must match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
    ]


def test_a_name_that_is_no_text_is_refused(faults: ReadFaults) -> None:
    assert faults(GOOD.replace('"x"', "5")) == ["job.toml:1 name: must be text, not 5"]


def test_an_unknown_instance_type_is_told_with_the_nearest(faults: ReadFaults) -> None:
    assert faults(GOOD.replace("p3.16", "p3.15")) == [
        "job.toml:3 instance_type: 'ml.p3.15xlarge' is no training instance type; did you mean 'ml.p3.16xlarge'?"
    ]


def test_21_channels_are_one_too_many(faults: ReadFaults) -> None:
    channels = "\n".join(f'channel-{number} = "s3://b/{number}"' for number in range(21))

    assert faults(f"{GOOD}[inputs]\n{channels}") == ["job.toml:4 inputs: has 21 entries; 20 are allowed"]


def test_a_hyperparameter_of_2501_characters_is_one_too_long(faults: ReadFaults) -> None:
    found = faults(f'{GOOD}[hyperparameters]\nepochs = 3\nlong = "{"a" * 2501}"')

    assert found == ["job.toml:6 hyperparameters.long: has 2,501 characters; 2,500 are allowed"]


def test_the_quotes_the_sdk_adds_count_too(faults: ReadFaults) -> None:
    found = faults(f'{GOOD}entry_point = "a.py"\n[hyperparameters]\nlong = "{"a" * 2499}"')

    assert found == ["job.toml:6 hyperparameters.long: has 2,501 characters; 2,500 are allowed"]


def test_several_faults_are_reported_together(faults: ReadFaults) -> None:
    found = faults(
        """name = "my_job"
instance_type = "ml.p3.15xlarge"
instance_cuont = 2
max_run = "long"

[hyperparameters]
long = "%s"

[inputs]
train = "fxs://data"
"""
        % ("a" * 2501)
    )

    assert [fault.partition(": ")[0] for fault in found] == [
        "job.toml:3 instance_cuont",
        "image",
        "job.toml:10 inputs.train.uri",
        "job.toml:1 name",
        "job.toml:7 hyperparameters.long",
        "job.toml:2 instance_type",
        "job.toml:4 max_run",
    ]


def test_what_is_missing_is_told_once(faults: ReadFaults) -> None:
    assert faults("max_run = 5") == ["name: is needed", "image: is needed", "instance_type: is needed"]


def test_what_a_key_needs_beside_it_is_told_in_the_files_words(faults: ReadFaults) -> None:
    found = faults(f'{GOOD}subnets = ["subnet-1"]\ncheckpoint_local_path = "/opt/ml/checkpoints"')

    assert found == ["security_group_ids: is needed", "checkpoint_s3_uri: is needed"]


def test_what_a_file_extends_is_a_path(faults: ReadFaults) -> None:
    assert faults("extends = 5") == ["extends: must be a path, not 5"]


def test_instance_groups_go_with_no_instance_type(faults: ReadFaults) -> None:
    groups = 'instance_groups = [{ instance_group_name = "a", instance_type = "ml.m5.large", instance_count = 1 }]'

    assert faults(f'name = "x"\nimage = "i"\n{groups}', instance_type="ml.p3.2xlarge") == [
        "--instance-type: is for a job of one kind of instance; InstanceGroups name their own"
    ]


@pytest.mark.parametrize("count", ["", ", instance_count = 0"])
def test_an_instance_group_has_instances(faults: ReadFaults, count: str) -> None:
    groups = f'instance_groups = [{{ instance_group_name = "a", instance_type = "ml.m5.large"{count} }}]'

    (found,) = faults(f'name = "x"\nimage = "i"\n{groups}')

    assert found in (
        "job.toml:3 instance_groups[0].instance_count: is needed",
        "job.toml:3 instance_groups: each group's InstanceCount must be 1 or more",
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"instance_type": "ml.p3.15xlarge"},
            "--instance-type: 'ml.p3.15xlarge' is no training instance type; did you mean 'ml.p3.16xlarge'?",
        ),
        ({"instance_count": 0}, "--instance-count: must be 1 or more"),
        ({"name": "my_job"}, "--name: 'my_job' must match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"),
        ({"name": ""}, "--name: has 0 characters; at least 1 are needed"),
        ({"settings": ("max_run=long",)}, "--set max_run: must be a whole number, not 'long'"),
        (
            {"settings": ("hyperparameter.epochs=1",)},
            "--set hyperparameter.epochs: is not known here; did you mean 'hyperparameters'?",
        ),
        ({"settings": ("epochs",)}, "--set epochs: must be KEY=VALUE, such as hyperparameters.epochs=1"),
        ({"settings": ("extends=a",)}, "--set extends=a: what a file extends stands in the file alone"),
        ({"settings": ("=1",)}, "--set =1: must be KEY=VALUE, such as hyperparameters.epochs=1"),
    ],
)
def test_what_the_command_line_got_wrong_is_told_as_its_flag(
    faults: ReadFaults, changes: dict[str, object], fault: str
) -> None:
    assert faults(GOOD, **changes) == [fault]


def test_a_fault_in_an_extended_file_is_told_with_that_files_line(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(f'{GOOD}[inputs]\n# a comment\ntrain = "fxs://data"\n[hyperparameters]\na = 1')
    job_file = tmp_path / "job.toml"
    job_file.write_text('extends = "base.toml"\n[inputs]\nvalidation = "fxs://other"\n')

    assert refusal(job_file).splitlines()[1:] == [
        "  base.toml:6 inputs.train.uri: 'fxs://data' begins with none of s3://, fsx://, efs://, file://; "
        "did you mean 'fsx://'?",
        "  job.toml:3 inputs.validation.uri: 'fxs://other' begins with none of s3://, fsx://, efs://, file://; "
        "did you mean 'fsx://'?",
    ]


@pytest.mark.parametrize("chain", [("job.toml",), ("a.toml", "job.toml"), ("a.toml", "b.toml", "a.toml")])
def test_files_that_extend_each_other_are_refused(tmp_path: Path, chain: tuple[str, ...]) -> None:
    for file, base in zip(("job.toml", *chain), chain, strict=False):
        (tmp_path / file).write_text(f'extends = "{base}"\n{GOOD}')

    assert f"extends: '{chain[-1]}' extends this file again" in refusal(tmp_path / "job.toml")


def test_a_base_that_is_not_there_is_told_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('extends = "no.toml"')

    assert refusal(tmp_path / "job.toml") == f"{tmp_path}/no.toml: 1 fault\n  there is no such file"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("job.toml", b"name = ", "is not TOML: Invalid value (at end of document)"),
        ("job.toml", b"a = 1\na = 2\n", "is not TOML: Cannot overwrite a value (at line 2, column 6)"),
        ("job.toml", b"a = " + b"9" * 5000, "is not TOML: Exceeds the limit"),
        ("job.toml", b"a = " + b"[" * 5000, "is not TOML: "),
        ("job.toml", b"\xff\xfe", "cannot be read: 'utf-8' codec can't decode"),
        ("job.toml", b'extends = "\\u0000"', "cannot be read: embedded null byte"),
        ("job.json", b"{", "is not JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        ("job.json", b'{"a": ' + b"9" * 5000, "is not JSON: Exceeds the limit"),
        ("job.json", b"[" * 5000, "is not JSON: "),
        ("job.json", b"[1]", "must be a CreateTrainingJob request: a JSON object"),
        ("job.json", b"", "is not JSON: Expecting value"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    told = refusal(path)

    assert f": 1 fault\n  {what}" in told
    assert "Traceback" not in told


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.toml") == f"{tmp_path}/no.toml: 1 fault\n  there is no such file"


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_a_folder_whose_name_is_no_text_cannot_be_named_by_a_uri(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (folder / "job.toml").write_text(f'{GOOD}inputs.train = "file://data"')

    assert "job.toml:4 inputs.train.uri: 'file://data' is no path" in refusal(folder / "job.toml")


def test_links_that_go_in_a_circle_are_no_path(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("data")
    (tmp_path / "job.toml").write_text(f'{GOOD}inputs.train = "file://data"')

    assert "job.toml:4 inputs.train.uri: 'file://data' is no path" in refusal(tmp_path / "job.toml")


def test_a_folder_is_no_job_file(tmp_path: Path) -> None:
    assert "cannot be read: [Errno 21] Is a directory" in refusal(tmp_path)
