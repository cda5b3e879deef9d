"""homeport-local: arguments in, exit code out."""

from __future__ import annotations

import argparse
import gc
import io
import os
import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0 completed, 1 failed, 2 wrong job or command, 3 this machine cannot,
    4 stopped, 5 ran past its time, 6 refused by --strict, 130 interrupted."""
    # Until a run listens for it, Ctrl-C simply ends this process: nothing has been started.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no “·” must not end a job.
            stream.reconfigure(errors="replace")
    asked = _parser().parse_args(arguments)
    # Here and not above: --help answers before pydantic and docker-py are loaded. What they load stays, so looking for
    # garbage among it meanwhile is a lost fiftieth of a start.
    gc.disable()
    from local_mode import commands  # noqa: PLC0415
    from training_job.errors import HomeportError  # noqa: PLC0415

    gc.enable()
    try:
        code = commands.run(asked)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has read enough: homeport-local plan JOB | head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except HomeportError as error:
        print(f"homeport-local: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("homeport-local: interrupted; what the run had started was removed", file=sys.stderr)
        code = 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homeport-local",
        description="Run a SageMaker training job on this machine, through the real toolkits.",
        epilog="Exit codes: 0 completed, 1 the job failed, 2 the command or job file is wrong, 3 this machine can't, "
        "4 stopped, 5 ran past its time, 6 refused by --strict, 130 interrupted.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    train = commands.add_parser("train", help="run a job to its end", description="Run a job to its end.")
    train.add_argument(
        "--json", action="store_true", help="print DescribeTrainingJob's answer on stdout, everything else on stderr"
    )
    plan = commands.add_parser("plan", help="show what would run and what differs from the cloud; start nothing")
    for command in (train, plan):
        _job_arguments(command)
    hydrate = commands.add_parser("hydrate", help="fetch what a linked file system holds in S3, ahead of a job")
    hydrate.add_argument("name", metavar="NAME", help="a file system of homeport.toml, by name or id")
    hydrate.add_argument("path", metavar="PATH", nargs="?", help="only this folder or file of it")
    hydrate.add_argument("--again", action="store_true", help="fetch also what a job has deleted or moved")
    commands.add_parser("doctor", help="show what this machine has")
    return parser


def _job_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("job", metavar="JOB", help="a job file (TOML), or a CreateTrainingJob request (JSON)")
    command.add_argument("--instance-count", type=int, metavar="N", help="run on N hosts")
    command.add_argument("--instance-type", metavar="T", help="run as this ml.* type")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a key, such as hyperparameters.epochs=1"
    )
    command.add_argument("--name", help="the training job's name, instead of the job file's with the time")
    command.add_argument("--gpus", metavar="0,1,…", help="the GPUs to use, shared evenly between hosts")
    command.add_argument("--virtual-gpus", type=int, metavar="N", help="N CPU ranks a host instead of GPUs")
    command.add_argument("--live-code", action="store_true", help="mount the code folder over the image's /opt/ml/code")
    command.add_argument(
        "--strict", action="store_true", help="refuse fields that change the job in the cloud and have no effect here"
    )
    command.add_argument("--no-credentials", action="store_true", help="lend the job none of your AWS credentials")
    command.add_argument("--runs", metavar="DIRECTORY", help="where run folders go (default: runs)")


if __name__ == "__main__":
    sys.exit(main())
