"""What a person reads while a job runs and when it has ended."""

import io
from pathlib import Path
from queue import SimpleQueue

import pytest

from local_mode import console
from local_mode.attempt import Events
from local_mode.console import Console, duration
from local_mode.course import Interruption
from local_mode.machine import Machine
from local_mode.runner import RunResult, run_plan
from local_mode.supervision import Signal, StopAsked
from tests.fakes import LAPTOP, FakeEngine, Script, a_job, a_plan, an_fsx_channel
from training_job.metrics import Metrics
from training_job.model import MetricDefinition, TrainingJob


def told(root: Path, job: TrainingJob, engine: FakeEngine, machine: Machine = LAPTOP) -> list[str]:
    """Every line of a run's output."""
    stream = io.StringIO()
    watcher = Console("job.toml", machine, stream)
    with watcher:
        result = run_plan(a_plan(root, job), engine, watcher, SimpleQueue())
    watcher.ends(result)
    return stream.getvalue().splitlines()


def test_a_run_is_told_from_its_plan_to_its_bill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "duration", lambda _: "0 s")
    (tmp_path / "data/by-id/train").mkdir(parents=True)
    specification = {
        "TrainingImage": "homeport/tensorflow",
        "TrainingInputMode": "File",
        "MetricDefinitions": [
            {"Name": "accuracy", "Regex": r"accuracy: (\S+)"},
            {"Name": "loss", "Regex": r"loss: (\S+)"},
        ],
    }
    job = a_job(
        hosts=2,
        instance_type="ml.p3.2xlarge",
        AlgorithmSpecification=specification,
        InputDataConfig=[an_fsx_channel()],
        Tags=[{"Key": "a", "Value": "b"}],
    )
    model = {"/opt/ml/model/weights": b"w" * 50_000}
    engine = FakeEngine(
        {
            "algo-1": Script([b"[1,mpirank:0,algo-1]<stdout>:accuracy: 0.9625\n"], files=model),
            "algo-2": Script(files=model),
        }
    )

    lines = told(tmp_path, job, engine)

    size = (tmp_path / "runs/job-1/output/model.tar.gz").stat().st_size / 1e6
    assert lines == [
        "job-1 · ml.p3.2xlarge × 2 · homeport/tensorflow:cpu sha256:00000000",
        "  train        data/by-id/train as fsx:/fsx/train, read-only",
        "  GPUs         1 virtual: no GPU here, 1 CPU rank a host; as many ranks as you like with --virtual-gpus N",
        "  differs      2 emulated, 1 recorded: homeport-local plan job.toml",
        "Starting · Training",
        "algo-1 │ [0] accuracy: 0.9625",
        "Uploading · Completed in 0 s",
        "  accuracy 0.9625",
        "  loss: no line matched its regex",
        "  model.tar.gz: weights was written by algo-1, algo-2; algo-1's was kept",
        f"  model  runs/job-1/output/model.tar.gz ({size:.1f} MB)",
        "  in the cloud: the same job on ml.p3.2xlarge × 2 bills $7.65 an hour "
        "(price of 2024-05, table in training_job/instance_types.py)",
    ]


def test_an_empty_model_is_called_so(tmp_path: Path) -> None:
    lines = told(tmp_path, a_job(), FakeEngine())

    assert lines[-2].endswith("MB: empty, nothing was saved in /opt/ml/model)")


def test_a_type_without_a_price_bills_nothing(tmp_path: Path) -> None:
    lines = told(tmp_path, a_job(instance_type="ml.p5.48xlarge"), FakeEngine())

    assert not [line for line in lines if "bills" in line]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"plain\n", "plain"),
        (b"plain\r\n", "plain"),
        (b"no end", "no end"),
        (b"10%\r20%\n", "10%\r20%"),
        (b"\xff\n", "\ufffd"),
        (b"\n", ""),
        (b"[1,mpirank:3,algo-2]<stdout>:epoch 1\n", "[3] epoch 1"),
        (b"[1,12]<stderr>:oops\n", "[12] oops"),
        (b"[INFO] [1,2]<stdout>: not a tag\n", "[INFO] [1,2]<stdout>: not a tag"),
    ],
)
def test_a_line_has_its_host_and_its_rank(line: bytes, shown: str) -> None:
    stream = io.StringIO()

    Console("job.toml", LAPTOP, stream).wrote("algo-2", line)

    assert stream.getvalue() == f"algo-2 │ {shown}\n"


def test_a_signal_says_what_comes_next() -> None:
    stream = io.StringIO()
    watcher = Console("job.toml", LAPTOP, stream)

    watcher.signalled(Signal("SIGTERM", ("algo-1", "algo-2")))
    watcher.signalled(Signal("SIGKILL", ("algo-2",)))

    assert stream.getvalue().splitlines() == [
        "SIGTERM sent to algo-1, algo-2; SIGKILL follows, at once on Ctrl-C",
        "SIGKILL sent to algo-2",
    ]


def test_an_error_in_the_middle_of_a_line_begins_its_own() -> None:
    stream = io.StringIO()
    watcher = Console("job.toml", LAPTOP, stream)

    with pytest.raises(RuntimeError), watcher:  # noqa: PT012 - the line is begun inside
        watcher.status("Starting")
        raise RuntimeError

    assert stream.getvalue() == "Starting\n"


def test_a_metric_whose_regex_was_dropped_is_told(tmp_path: Path) -> None:
    stream = io.StringIO()
    plan = a_plan(tmp_path)
    result: RunResult = run_plan(plan, FakeEngine(), Console("job.toml", LAPTOP, io.StringIO()), SimpleQueue())
    result.metrics = Metrics([MetricDefinition(name="loss", regex="(x)")])
    result.metrics.too_slow.add("loss")

    Console("job.toml", LAPTOP, stream).ends(result)

    assert "  loss: its regex was dropped: it could not decide a line in time" in stream.getvalue().splitlines()


def test_lines_that_come_together_are_written_at_once() -> None:
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    Console("job.toml", LAPTOP, Stream()).wrote("algo-1", b"one\r\n[1,0]<stdout>:two\n\n[1,\n2]<stdout>:\xe2\nno end")

    assert written == [
        "algo-1 │ one\nalgo-1 │ [0] two\nalgo-1 │ \nalgo-1 │ [1,\nalgo-1 │ 2]<stdout>:\ufffd\nalgo-1 │ no end\n"
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (72, "1 min 12 s"), (3672, "1 h 1 min")]
)
def test_a_duration_is_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def drilled(root: Path, scripts: list[Script], *seconds: float) -> list[str]:
    """What is told of a job with interruptions."""
    stream = io.StringIO()
    watcher = Console("job.toml", LAPTOP, stream)
    left = iter(scripts)
    plan = a_plan(root, interrupt_after=seconds)
    watcher.ends(run_plan(plan, FakeEngine(lambda _: next(left)), watcher, SimpleQueue()))
    return stream.getvalue().splitlines()


def test_an_interruption_is_told_when_it_comes_and_summed_up_at_the_end(tmp_path: Path) -> None:
    lines = drilled(tmp_path, [Script(ends_on=("SIGTERM",)), Script()], 0.001)

    assert lines[2:8] == [
        "Starting · Training",
        "Interrupted",
        "SIGTERM sent to algo-1; SIGKILL follows, at once on Ctrl-C",
        "  interrupted after 0 s: all of it is lost, since the job has no CheckpointConfig (checkpoint_s3_uri)",
        "Starting · Training",
        "Uploading · Completed in 0 s",
    ]
    assert "  interrupted 1 of 1 times: 0 s of work lost in all" in lines


def test_a_job_that_ended_before_its_interruption_says_so(tmp_path: Path) -> None:
    lines = drilled(tmp_path, [Script()], 60)

    assert "  interrupted 0 of 1 times: 0 s of work lost in all; it ended before the next" in lines


@pytest.mark.parametrize(
    ("interruption", "told"),
    [
        (Interruption(9.6, 3.2, "s3://b/ck"), "3 s of work are lost, those since the last checkpoint that had reached"),
        (Interruption(9.6, None, "s3://b/ck"), "all of it is lost: no checkpoint had reached s3://b/ck yet"),
        (Interruption(9.6, None, None), "all of it is lost, since the job has no CheckpointConfig"),
    ],
)
def test_an_interruption_says_how_much_work_is_lost(interruption: Interruption, told: str) -> None:
    assert str(interruption).startswith(f"interrupted after 10 s: {told}")


def test_a_job_that_was_stopped_before_it_had_containers_tells_of_no_model(tmp_path: Path) -> None:
    events: Events = SimpleQueue()
    stream = io.StringIO()

    class Stopping(Console):
        def status(self, status: str) -> None:
            super().status(status)
            events.put(StopAsked("stop requested"))

    watcher = Stopping("job.toml", LAPTOP, stream)

    watcher.ends(run_plan(a_plan(tmp_path), FakeEngine(), watcher, events))

    assert stream.getvalue().splitlines()[2:4] == ["Starting · Stopping", "Stopped in 0 s"]
    assert "model" not in stream.getvalue().replace("training_job", "")
