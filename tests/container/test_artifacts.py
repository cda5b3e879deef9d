"""What real hosts leave in /opt/ml/model and /opt/ml/output/data, in the run's folder and where S3OutputPath says."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.container.conftest import Bucket, Ran, Shell, half_done, hosts_of, wait_for
from tests.s3_server import KEYS, REGION, Served

TO_BUCKET = 'output_path = "s3://bucket/models"\n'
AS_FILES = '[request]\nOutputDataConfig = { S3OutputPath = "s3://bucket/models", CompressionType = "NONE" }\n'
# Every host its own files, and one that all have.
LEAVE = (
    "cd /opt/ml/model; mkdir -p 1/variables; echo weights of $HOST > 1/variables/$HOST; echo $HOST > shared; "
    "cd ../output/data; echo seen > seen-$HOST; echo m > ../metrics/m; echo beside > ../beside; "
)
LARGE = 100_000_000
LEAVE_LARGE = f"head -c {LARGE} /dev/urandom > /opt/ml/model/large"


def left_by(count: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What LEAVE makes of the model and of the output; who comes first has the file that all wrote."""
    model = {f"1/variables/{host}": f"weights of {host}\n".encode() for host in hosts_of(count)}
    return model | {"shared": b"algo-1\n"}, {f"seen-{host}": b"seen\n" for host in hosts_of(count)}


def files_of(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {member.name: content.read() for member in opened if (content := opened.extractfile(member))}


def model_uri(ran: Ran) -> str:
    return str(ran.description["ModelArtifacts"]["S3ModelArtifacts"])


@pytest.mark.effect("OutputDataConfig.S3OutputPath", "OutputDataConfig.CompressionType")
@pytest.mark.parametrize("count", [1, 3])
def test_artifacts_are_packed_rooted_merged_and_delivered(shell: Shell, bucket: Bucket, count: int) -> None:
    ran = shell.train(shell.job(LEAVE, hosts=count, more=TO_BUCKET))

    assert ran.code == 0, ran.err
    to = f"models/{ran.folder.name}/output"
    assert sorted(bucket.objects) == [f"{to}/model.tar.gz", f"{to}/output.tar.gz"]
    assert (ran.packed(), ran.packed("output.tar.gz")) == left_by(count)
    for name in ("model.tar.gz", "output.tar.gz"):
        assert bucket.objects[f"{to}/{name}"] == (ran.folder / "output" / name).read_bytes()
    assert model_uri(ran) == f"s3://bucket/{to}/model.tar.gz"
    assert f"the artifacts are at s3://bucket/{to}/" in ran.out
    writers = "model.tar.gz: shared was written by algo-1, algo-2, algo-3; algo-1's was kept"
    assert (writers in ran.out) == (count == 3)


@pytest.mark.effect("OutputDataConfig.CompressionType")
@pytest.mark.parametrize("count", [1, 3])
def test_uncompressed_artifacts_are_files_here_and_there(shell: Shell, bucket: Bucket, count: int) -> None:
    ran = shell.train(shell.job(LEAVE, hosts=count, more=AS_FILES))

    assert ran.code == 0, ran.err
    to = f"models/{ran.folder.name}/output"
    model, output = left_by(count)
    both = {f"model/{path}": content for path, content in model.items()} | {
        f"data/{path}": content for path, content in output.items()
    }
    assert Bucket(ran.folder / "output").objects == both
    assert bucket.objects == {f"{to}/{path}": content for path, content in both.items()}
    assert model_uri(ran) == f"s3://bucket/{to}/model"


def test_the_size_of_an_uncompressed_model_is_its_files(shell: Shell) -> None:
    script = "cd /opt/ml/model; mkdir deep; head -c 2000000 /dev/zero > deep/a; head -c 500000 /dev/zero > b"

    ran = shell.train(shell.job(script, more=AS_FILES))

    assert f"  model  runs/{ran.folder.name}/output/model (2.5 MB)" in ran.out


def test_without_a_bucket_artifacts_stay_here(shell: Shell) -> None:
    ran = shell.train(shell.job(LEAVE, more=TO_BUCKET))

    assert (ran.code, model_uri(ran)) == (0, f"file://{ran.folder}/output/model.tar.gz")
    assert "the artifacts are at" not in ran.out


def test_the_same_files_are_the_same_bytes(shell: Shell) -> None:
    script = (
        f"{LEAVE} seq 200000 > /opt/ml/model/1/numbers; "
        "find /opt/ml/model /opt/ml/output -exec touch -d @1700000000 {} +"
    )

    first, again = (shell.train(shell.job(script, hosts=2)) for _ in range(2))

    assert first.code == 0, first.err
    for name in ("model.tar.gz", "output.tar.gz"):
        assert (first.folder / "output" / name).read_bytes() == (again.folder / "output" / name).read_bytes()


def test_a_failed_jobs_artifacts_are_delivered_too(shell: Shell, bucket: Bucket) -> None:
    ran = shell.train(shell.job(f"{LEAVE} exit 7", more=TO_BUCKET))

    assert ran.code == 1, ran.err
    assert files_of(bucket.objects[f"models/{ran.folder.name}/output/model.tar.gz"]) == left_by(1)[0]


UNDELIVERABLE = {
    "a file": ('path = "job.toml"', {}, 3, "cannot be written: Not a directory"),
    "no such bucket": ('endpoint = "{url}"', {}, 2, "has no such bucket"),
    "wrong credentials": ('endpoint = "{url}"', {"AWS_SECRET_ACCESS_KEY": "wrong"}, 3, "access denied"),
    "nobody there": ('endpoint = "http://127.0.0.1:1"', {}, 3, "cannot be reached"),
}


@pytest.mark.parametrize("more", [TO_BUCKET, AS_FILES], ids=["packed", "as files"])
@pytest.mark.parametrize("what", UNDELIVERABLE)
def test_what_cannot_be_delivered_is_told_and_still_whole_here(
    shell: Shell, s3: Served, monkeypatch: pytest.MonkeyPatch, what: str, more: str
) -> None:
    for name, value in (KEYS | {"AWS_REGION": REGION}).items():
        monkeypatch.setenv(name, value)
    where, environ, code, why = UNDELIVERABLE[what]
    shell.map(where.format(url=s3.url))

    ran = shell.train(shell.job(LEAVE, more=more), environ=environ)

    assert (ran.code, why in ran.err) == (code, True), ran.err
    assert f"not delivered to s3://bucket/models/{ran.folder.name}/output/model" in ran.err
    assert f"{ran.folder}/output/model" in ran.err
    assert "still whole in the run's folder" in ran.err
    assert "Completed in" in ran.out
    assert ran.description["TrainingJobStatus"] == "Completed"
    assert model_uri(ran).startswith(f"file://{ran.folder}/output/model")
    kept = ran.packed() if more == TO_BUCKET else Bucket(ran.folder / "output/model").objects
    assert kept == left_by(1)[0]
    assert half_done(shell) == []


LINKS = {"absolute": "/etc/passwd", "upwards": "../../../../../../../../etc/passwd"}


@pytest.mark.parametrize("to", LINKS)
def test_a_packed_link_out_of_the_model_is_a_link_and_nothing_of_this_machine(
    shell: Shell, bucket: Bucket, to: str
) -> None:
    ran = shell.train(shell.job(f"ln -s {LINKS[to]} /opt/ml/model/x; echo 1 > /opt/ml/model/w", more=TO_BUCKET))

    assert ran.code == 0, ran.err
    archive = bucket.objects[f"models/{ran.folder.name}/output/model.tar.gz"]
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert {member.name: (member.size, member.linkname) for member in opened} == {
            "x": (0, LINKS[to]),
            "w": (2, ""),
        }


@pytest.mark.parametrize("to", LINKS)
def test_an_uncompressed_link_out_of_the_model_is_refused_and_checkpoints_are_kept(
    shell: Shell, bucket: Bucket, to: str
) -> None:
    script = f"ln -s {LINKS[to]} /opt/ml/model/x; mkdir /opt/ml/model/d; ln -s {LINKS[to]} /opt/ml/model/d/y; "
    more = f'checkpoint_s3_uri = "s3://bucket/ck"\n{AS_FILES}'

    ran = shell.train(shell.job(f"{script} echo 1 > /opt/ml/checkpoints/last", more=more))

    assert (ran.code, "algo-1: left 'd/y'" in ran.err or "algo-1: left 'x'" in ran.err) == (3, True), ran.err
    assert bucket.objects == {"ck/last": b"1\n"}
    assert Bucket(ran.folder / "output").objects == {}
    assert half_done(shell) == []


@pytest.mark.parametrize("more", [TO_BUCKET, AS_FILES], ids=["packed", "as files"])
def test_a_harness_that_was_killed_packing_leaves_nothing_past_the_next_run(shell: Shell, more: str) -> None:
    name, process = shell.begin(shell.job(LEAVE_LARGE, more=more))
    wait_for(lambda: any_large_below(shell.folder / "runs" / name / "output"), every=0.002)
    process.kill()
    process.communicate()
    assert half_done(shell)

    ran = shell.train(shell.job(LEAVE, more=more))

    assert ran.code == 0, ran.err
    assert half_done(shell) == []
    assert Bucket(shell.folder / "runs" / name / "output").objects == {}


def test_a_harness_that_was_killed_delivering_leaves_nothing_past_the_next_run(shell: Shell, bucket: Bucket) -> None:
    name, process = shell.begin(shell.job(LEAVE_LARGE, more=TO_BUCKET))
    wait_for(lambda: any_large_below(bucket.folder), every=0.002)
    process.kill()
    process.communicate()
    assert half_done(shell) or shell.is_elsewhere

    ran = shell.train(shell.job(LEAVE, more=TO_BUCKET))

    assert ran.code == 0, ran.err
    assert half_done(shell) == []
    to = f"models/{ran.folder.name}/output"
    assert sorted(bucket.objects) == [f"{to}/model.tar.gz", f"{to}/output.tar.gz"]
    whole = files_of((shell.folder / "runs" / name / "output/model.tar.gz").read_bytes())
    assert len(whole["large"]) == LARGE


def any_large_below(folder: Path) -> bool:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_size > 1_000_000:
                return True
    return False
