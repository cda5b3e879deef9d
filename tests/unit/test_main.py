"""homeport-local from its arguments to its exit code, on an engine without containers or none at all."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_mode import commands, console
from local_mode.__main__ import main
from tests.fakes import WORKSTATION, FakeEngine, Script, a_request

JOB = """
name = "tiny"
image = "mine"
instance_type = "ml.m5.xlarge"
max_run = 60
"""
GPU_JOB = JOB.replace("m5.xlarge", "p3.16xlarge")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A command takes SIGINT for itself; the test run wants it back."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are given: a job file, and nothing of this machine's settings."""
    for name in [name for name in os.environ if name.startswith(("HOMEPORT_", "DOCKER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setenv("HOMEPORT_STATE", str(tmp_path.with_name(f"{tmp_path.name}-state")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "duration", lambda _: "0 s")
    (tmp_path / "job.toml").write_text(JOB)
    (tmp_path / "gpu.toml").write_text(GPU_JOB)
    return tmp_path


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The engine that answers."""
    engine = FakeEngine()
    monkeypatch.setattr(commands.DockerEngine, "connect", lambda: engine)
    return engine


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("job.toml", "instance_cuont = 1", "job.toml:6 instance_cuont: is not known here; did you mean"),
        ("job.toml", "instance_count = '1'", "job.toml:6 instance_count: must be a whole number, not '1'"),
        ("job.toml", "name =", "is not TOML"),
        ("job.toml", 'extends = "no.toml"', "no.toml: 1 fault\n  there is no such file"),
        ("job.json", "{", "is not JSON"),
        ("job.json", json.dumps(a_request(Tag=[])), "Tag: is not known here; did you mean 'Tags'?"),
        ("no.toml", "", "no.toml: 1 fault\n  there is no such file"),
        ("homeport.toml", "[local]\nrun = 'x'", "homeport.toml:2 local.run: is not known here; did you mean 'runs'?"),
        ("homeport.toml", "[", "homeport.toml: 1 fault\n  cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["train", "plan"])
def test_bad_input_is_told_before_an_engine_is_looked_for(
    folder: Path, capsys: pytest.CaptureFixture[str], *, command: str, file: str, content: str, told: str
) -> None:
    if content:
        (folder / file).write_text((JOB if file == "job.toml" else "") + content)
    before = files(folder)

    code = main([command, "job.toml" if file == "homeport.toml" else file])

    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith("homeport-local: ")
    assert told in err
    assert files(folder) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "max_run=long"], "--set max_run: must be a whole number, not 'long'"),
        (["--set", "max_run"], "--set max_run: must be KEY=VALUE"),
        (["--name", "my_job"], "--name: 'my_job' must match"),
        (["--instance-type", "p3.2xlarge"], "--instance-type: 'p3.2xlarge' is no training instance type"),
        (["--instance-count", "0"], "--instance-count: must be 1 or more"),
        (["--instance-count", "-1"], "--instance-count: must be 0 or more, not -1"),
        (["--interrupt-after", "5,soon"], "--interrupt-after: 1 fault\n  must be seconds of training, not 'soon'"),
        (["--interrupt-after", "-1"], "must be seconds of training, not '-1'"),
        (["--interrupt-after", "nan"], "must be seconds of training, not 'nan'"),
        (["--virtual-gpus", "0"], "--virtual-gpus: 1 fault\n  must be 1 or more, not 0"),
    ],
)
@pytest.mark.usefixtures("engine")
def test_a_bad_flag_is_told_with_exit_2(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert main(["train", "job.toml", *arguments]) == 2

    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["trian"], ["train"], ["train", "job.toml", "--instance-count", "two"], ["plan", "a", "b"]]
)
def test_a_wrong_command_is_exit_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)

    assert left.value.code == 2
    assert "usage: homeport-local" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", ["unix:///no.sock", "tcp://127.0.0.1:1", "http://127.0.0.1", "nonsense", "tcp://[", "unix://"]
)
@pytest.mark.parametrize("arguments", [["train", "job.toml"], ["plan", "job.toml"], ["doctor"]])
def test_no_engine_is_exit_3_and_says_what_was_tried(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    address: str,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    before = files(folder)

    assert main(arguments) == 3

    err = capsys.readouterr().err
    assert f"no container engine answers. Tried:\n  DOCKER_HOST ({address}): " in err
    assert "docker/engine.sh" in err
    assert files(folder) == before


def test_a_job_that_completes_is_exit_0_and_says_where_its_model_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = FakeEngine({"algo-1": Script([b"hello\n"], files={"/opt/ml/model/weights": b"1"})})
    monkeypatch.setattr(commands.DockerEngine, "connect", lambda: engine)

    code = main(["train", "job.toml", "--name", "mine"])

    out = capsys.readouterr().out.splitlines()
    assert code == 0
    assert out[0] == "mine · ml.m5.xlarge × 1 · mine sha256:00000000"
    assert out[2:5] == ["Starting · Training", "algo-1 │ hello", "Uploading · Completed in 0 s"]
    assert out[5].startswith("  model  runs/mine/output/model.tar.gz (")
    assert (folder / "runs/mine/output/model.tar.gz").is_file()


def test_a_job_that_fails_is_exit_1_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = FakeEngine({"algo-2": Script(code=3, files={"/opt/ml/output/failure": b"boom\nbang"})})
    monkeypatch.setattr(commands.DockerEngine, "connect", lambda: engine)

    code = main(["train", "job.toml", "--instance-count", "2"])

    out = capsys.readouterr().out
    assert code == 1
    assert "Failed in 0 s\n  algo-2 failed first: its log is " in out
    assert "\n  AlgorithmError: boom\n  bang, exit code: 3\n" in out


def test_json_is_the_description_alone(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["train", "job.toml", "--json"])

    captured = capsys.readouterr()
    assert code == 0
    assert json.loads(captured.out)["TrainingJobStatus"] == "Completed"
    assert "Starting · Training" in captured.err
    assert engine.left == []


def test_a_plan_starts_nothing(engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(folder)

    assert main(["plan", "job.toml"]) == 0

    assert "What becomes of each field here:" in capsys.readouterr().out
    assert engine.events == []
    assert files(folder) == before


@pytest.mark.parametrize(
    ("addition", "arguments", "code", "told"),
    [
        ('checkpoint_s3_uri = "s3://b/c"', ["--strict"], 6, "refused by --strict"),
        ('inputs.train = "fsx://nobody/train"', [], 2, "file system 'nobody' is not mapped"),
        ('inputs.train = "s3://nobody/train"', [], 2, "bucket 'nobody' is not mapped"),
        ('inputs.train = "file://nowhere"', [], 2, "there is no such directory"),
        ('entry_point = "a.py"\nsource_dir = "nowhere"', [], 2, "source_dir: "),
        ('input_mode = "Pipe"\ninputs.train = "file://."', [], 2, "a local directory is read in File mode only"),
        ("", ["--runs", "job.toml/runs"], 3, "Write elsewhere with --runs DIRECTORY"),
    ],
)
def test_what_a_job_cannot_have_is_refused_with_its_own_exit_code(
    engine: FakeEngine,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    addition: str,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    (folder / "job.toml").write_text(JOB + addition)
    before = files(folder)

    assert main(["train", "job.toml", *arguments]) == code

    assert told in capsys.readouterr().err
    assert engine.events == []
    assert files(folder) == before


def test_an_image_that_is_not_there_is_exit_3(
    engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.missing_images.add("mine")

    assert main(["train", "job.toml"]) == 3

    assert "image mine: not on this machine, and no registry has it" in capsys.readouterr().err
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--gpus", "0,1"], 0),
        (["--gpus", "8"], 3),
        (["--gpus", "x"], 3),
        (["--gpus", ""], 3),
        (["--instance-count", "2"], 3),
        (["--instance-count", "2", "--gpus", "0,1,2"], 2),
        (["--instance-count", "2", "--virtual-gpus", "1"], 0),
    ],
)
def test_gpus_are_there_or_refused(monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int) -> None:
    monkeypatch.setattr(commands.DockerEngine, "connect", lambda: FakeEngine(machine=WORKSTATION))

    assert main(["train", "gpu.toml", *arguments]) == code


def test_the_doctor_says_what_there_is(engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.missing_images.add("homeport/tensorflow:gpu")
    (folder / "homeport.toml").write_text('[local.file_systems.training-data]\nmount_name = "fsx"\npath = "data"')

    assert main(["doctor"]) == 0

    out = capsys.readouterr().out
    assert f"place        {folder}/homeport.toml" in out
    assert f"file system  training-data: {folder}/data (not there)" in out
    assert "image        homeport/tensorflow:cpu\n" in out
    assert "image        homeport/tensorflow:gpu: not built; docker/image.sh tensorflow gpu\n" in out


def test_ctrl_c_stops_a_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupting(FakeEngine):
        def note(self, event: str) -> None:
            super().note(event)
            if event == "start algo-1":
                signal.raise_signal(signal.SIGINT)

    engine = Interrupting({"algo-1": Script(ends_on=("SIGTERM",))})
    monkeypatch.setattr(commands.DockerEngine, "connect", lambda: engine)

    assert main(["train", "job.toml"]) == 130

    out = capsys.readouterr().out
    assert "SIGTERM sent to algo-1; SIGKILL follows, at once on Ctrl-C" in out
    assert "Stopped in 0 s" in out
    assert engine.left == []


def test_sigterm_stops_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopping(FakeEngine):
        def note(self, event: str) -> None:
            super().note(event)
            if event == "start algo-1":
                os.kill(os.getpid(), signal.SIGTERM)

    engine = Stopping({"algo-1": Script(ends_on=("SIGTERM",))})
    monkeypatch.setattr(commands.DockerEngine, "connect", lambda: engine)

    assert main(["train", "job.toml"]) == 4

    assert engine.left == []


def test_help_needs_neither_pydantic_nor_docker() -> None:
    program = (
        "import sys\n"
        "from local_mode.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as left:\n    assert left.code == 0\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'pydantic', 'docker', 'regex', 'requests'}))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "usage: homeport-local" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["plan", "job.toml"], ["doctor"]])
@pytest.mark.usefixtures("engine")
def test_a_reader_that_goes_away_is_no_error(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as gone:
        monkeypatch.setattr(sys, "stdout", gone)

        assert main(arguments) == 0


@pytest.mark.usefixtures("engine")
def test_a_terminal_that_cannot_show_a_character_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))

    assert main(["plan", "job.toml"]) == 0


def test_a_folder_that_was_removed_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()

    assert main(["plan", "job.toml"]) in (2, 3)


@pytest.mark.usefixtures("engine")
def test_interruptions_are_given_one_by_one_or_as_a_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "job.toml").write_text(f"{JOB}use_spot_instances = true\n")

    assert main(["plan", "job.toml", "--interrupt-after", "60,30", "--interrupt-after", "1.5"]) == 0

    assert "interrupted after 60 s, then 30 s, then 1.5 s of training and started anew" in capsys.readouterr().out
