"""homeport-local: arguments in, exit code out."""

from __future__ import annotations

import argparse
import gc
import io
import os
import signal
import sys
from collections.abc import Callable


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
    from training_job.errors import HomeportError  # noqa: PLC0415

    run = _command(asked.command)
    gc.enable()
    try:
        code = run(asked)
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


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """What carries out a command: nothing that trains is loaded for those about jobs that are there."""
    if name in ("list", "describe", "logs", "report", "stop", "prune"):
        from local_mode import job_commands  # noqa: PLC0415

        return job_commands.run
    from local_mode import commands  # noqa: PLC0415

    return commands.run


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
    train.add_argument(
        "--detach", action="store_true", help="return once the job's hosts run; print its name alone on stdout"
    )
    plan = commands.add_parser("plan", help="show what would run and what differs from the cloud; start nothing")
    for command in (train, plan):
        _job_arguments(command)
    _job_commands(commands)
    hydrate = commands.add_parser("hydrate", help="fetch what a linked file system holds in S3, ahead of a job")
    hydrate.add_argument("name", metavar="NAME", help="a file system of homeport.toml, by name or id")
    hydrate.add_argument("path", metavar="PATH", nargs="?", help="only this folder or file of it")
    hydrate.add_argument("--again", action="store_true", help="fetch also what a job has deleted or moved")
    commands.add_parser("doctor", help="show what this machine has")
    return parser


def _job_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands about jobs that are there."""
    listed = commands.add_parser("list", help="show this machine's jobs, newest first")
    listed.add_argument("--json", action="store_true", help="print ListTrainingJobs' answer")
    listed.add_argument(
        "--status",
        choices=("InProgress", "Completed", "Failed", "Stopping", "Stopped"),
        help="only jobs of this status",
    )
    listed.add_argument("--limit", type=_count, default=50, metavar="N", help="at most N jobs; 0: all (default: 50)")
    described = commands.add_parser("describe", help="show how a job goes or went")
    described.add_argument("--json", action="store_true", help="print DescribeTrainingJob's answer")
    logs = commands.add_parser("logs", help="print the logs of a job's hosts")
    logs.add_argument("--follow", action="store_true", help="go on until the job has ended")
    logs.add_argument("--host", metavar="algo-N", help="this host's alone, byte for byte")
    report = commands.add_parser("report", help="write a page about a job: its life, metrics, what it used, logs")
    stop = commands.add_parser("stop", help="stop a job, as StopTrainingJob does")
    stop.add_argument("--wait", action="store_true", help="return once it has ended")
    for command in (described, logs, report, stop):
        command.add_argument(
            "name", metavar="NAME", help="a job's name, or as much of it as no other job's begins with"
        )
    pruned = commands.add_parser("prune", help="remove ended jobs and their folders; without --yes, show which")
    pruned.add_argument("--older-than", metavar="AGE", help="only those that ended longer ago: 30d, 12h, 90m, 4w")
    pruned.add_argument("--keep", type=_count, metavar="N", help="not the newest N")
    pruned.add_argument("--yes", action="store_true", help="remove them")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of jobs, not {text!r}")
    return int(text)


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
    command.add_argument(
        "--limit-resources", action="store_true", help="no more cores and memory a host than its instance type has"
    )
    command.add_argument(
        "--interrupt-after",
        action="append",
        default=[],
        metavar="SECONDS",
        help="take the hosts away after so much training, as a spot interruption does, and start anew; again after the "
        "restart with a second one, or with a list: 60,30",
    )
    command.add_argument("--no-credentials", action="store_true", help="lend the job none of your AWS credentials")
    command.add_argument("--runs", metavar="DIRECTORY", help="where run folders go (default: runs)")


if __name__ == "__main__":
    sys.exit(main())
