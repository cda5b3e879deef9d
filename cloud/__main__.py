"""homeport-cloud: arguments in, exit code out."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module

_MODULES = {
    "plan": "commands",
    "train": "commands",
    "push": "push_commands",
    "describe": "job_commands",
    "logs": "job_commands",
    "stop": "job_commands",
    "list": "job_commands",
    "compare": "job_commands",
    "stack": "stack_commands",
    "cleanup": "stack_commands",
    "data": "stack_commands",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0 completed, 1 failed, 2 wrong job or command, 3 the account cannot,
    4 stopped, 5 ran past its time, 130 interrupted."""
    # Until a command listens for it, Ctrl-C simply ends this process: whatever runs in the cloud goes on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no “·” must not end a command.
            stream.reconfigure(errors="replace")
    asked = _parser().parse_args(arguments)
    # Here and not above: --help answers before pydantic and boto3 are loaded.
    from training_job.errors import HomeportError  # noqa: PLC0415

    try:
        code = _command(asked.command)(asked)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has read enough: homeport-cloud logs NAME | head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except HomeportError as error:
        print(f"homeport-cloud: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("homeport-cloud: interrupted", file=sys.stderr)
        code = 130
    return code


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """What carries out a command: the `run` of a module that is loaded for it alone."""
    run: Callable[[argparse.Namespace], int] = import_module(f"cloud.{_MODULES[name]}").run
    return run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homeport-cloud",
        description="Run on SageMaker the image and the job that ran here.",
        epilog="Exit codes: 0 completed, 1 the job failed, 2 the command or job file is wrong, 3 the account can't, "
        "4 stopped, 5 ran past its time, 130 interrupted.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    plan = commands.add_parser("plan", help="show the request that would be sent and what it costs; start nothing")
    plan.add_argument("--json", action="store_true", help="print the request alone, as JSON, its secrets hidden")
    push = commands.add_parser("push", help="send a job's image to the account's registry")
    push.add_argument("--tag", help="one more tag for it, beside its version and content")
    train = commands.add_parser("train", help="send a job to SageMaker and follow it to its end")
    _job_arguments(plan)
    _job_arguments(push)
    _job_arguments(train)
    _train_arguments(train)
    _job_commands(commands)
    _account_commands(commands)
    return parser


def _job_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("job", metavar="JOB", help="a job file (TOML), or a CreateTrainingJob request (JSON)")
    command.add_argument("--instance-count", type=int, metavar="N", help="run on N hosts")
    command.add_argument("--instance-type", metavar="T", help="run on this ml.* type")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a key, such as hyperparameters.epochs=1"
    )
    command.add_argument("--name", help="the training job's name, instead of the job file's with the time")
    command.add_argument("--runs", metavar="DIRECTORY", help="where run folders are (default: runs)")


def _train_arguments(train: argparse.ArgumentParser) -> None:
    train.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=True, help="follow the job to its end (default)"
    )
    train.add_argument(
        "--require-rehearsed", action="store_true", help="refuse an image that no local run has completed with"
    )
    train.add_argument(
        "--json", action="store_true", help="print DescribeTrainingJob's answer on stdout, everything else on stderr"
    )


def _job_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands about jobs that are there."""
    described = commands.add_parser("describe", help="show how a job goes or went")
    described.add_argument("--json", action="store_true", help="print DescribeTrainingJob's answer")
    logs = commands.add_parser("logs", help="print the logs of a job's hosts")
    logs.add_argument("--follow", action="store_true", help="go on until the job has ended, then fetch what it left")
    logs.add_argument("--host", metavar="algo-N", help="this host's alone")
    stop = commands.add_parser("stop", help="stop a job")
    stop.add_argument("--wait", action="store_true", help="return once it has ended")
    for command in (described, logs, stop):
        command.add_argument("name", metavar="NAME", help="a job's name")
        command.add_argument("--runs", metavar="DIRECTORY", help="where run folders are (default: runs)")
    listed = commands.add_parser("list", help="show the account's training jobs, newest first")
    listed.add_argument("--json", action="store_true", help="print ListTrainingJobs' answer")
    listed.add_argument(
        "--status",
        choices=("InProgress", "Completed", "Failed", "Stopping", "Stopped"),
        help="only jobs of this status",
    )
    listed.add_argument("--limit", type=_count, default=50, metavar="N", help="at most N jobs; 0: all (default: 50)")
    compared = commands.add_parser("compare", help="show what differed between a run here and one in the cloud")
    compared.add_argument("local", metavar="LOCAL", help="the run here: its name, or its folder")
    compared.add_argument("cloud", metavar="CLOUD", help="the run in the cloud: its name, or its folder")
    compared.add_argument("--json", action="store_true", help="print every field with both values")
    compared.add_argument("--runs", metavar="DIRECTORY", help="where run folders are (default: runs)")


def _account_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands about what an account has ready for jobs."""
    stack = commands.add_parser("stack", help="make the account ready for jobs, and show or remove what that made")
    actions = stack.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    up = actions.add_parser("up", help="create or change the stacks, after showing what changes and what it costs")
    up.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the templates"
    )
    down = actions.add_parser("down", help="remove the stacks; without --yes, show what goes")
    actions.add_parser("status", help="show the stacks and what they put out")
    cleanup = commands.add_parser("cleanup", help="remove what this project made; without --yes, show what goes")
    for command in (up, down, cleanup):
        command.add_argument("--yes", action="store_true", help="ask nothing, do it")
    transfer = commands.add_parser("data", help="bring data to the account")
    directions = transfer.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    push = directions.add_parser("push", help="upload a data set")
    push.add_argument("dataset", metavar="DATASET", help="a directory, or a file system's path: fsx://NAME/path")
    push.add_argument("--to", metavar="s3://…", help="where it goes (default: the account's bucket)")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of jobs, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
