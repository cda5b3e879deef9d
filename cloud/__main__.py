"""homeport-cloud: arguments in, exit code out."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from training_job.command_line import Command, add_job_arguments, add_list_arguments, add_runs, carry_out

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
    return carry_out(_parser(), arguments, _command, interrupted="interrupted")


def _command(name: str) -> Command:
    """What carries out a command: the `run` of a module that is loaded for it alone."""
    run: Command = import_module(f"cloud.{_MODULES[name]}").run
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
    add_job_arguments(plan)
    add_job_arguments(push)
    add_job_arguments(train)
    _train_arguments(train)
    _job_commands(commands)
    _account_commands(commands)
    return parser


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
        add_runs(command)
    listed = commands.add_parser("list", help="show the account's training jobs, newest first")
    add_list_arguments(listed)
    compared = commands.add_parser("compare", help="show what differed between a run here and one in the cloud")
    compared.add_argument("local", metavar="LOCAL", help="the run here: its name, or its folder")
    compared.add_argument("cloud", metavar="CLOUD", help="the run in the cloud: its name, or its folder")
    compared.add_argument("--json", action="store_true", help="print every field with both values")
    add_runs(compared)


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


if __name__ == "__main__":
    sys.exit(main())
