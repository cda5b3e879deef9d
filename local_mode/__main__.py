"""homeport-local: arguments in, exit code out."""

from __future__ import annotations

import argparse
import gc
import sys
from importlib import import_module

from training_job.command_line import Command, add_job_arguments, add_list_arguments, carry_out, count


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0 completed, 1 failed, 2 wrong job or command, 3 this machine cannot,
    4 stopped, 5 ran past its time, 6 refused by --strict, 130 interrupted."""
    return carry_out(_parser(), arguments, _command, interrupted="interrupted; what the run had started was removed")


def _command(name: str) -> Command:
    """What carries out a command: nothing that trains is loaded for those about jobs that are there."""
    # What is loaded stays, so looking for garbage among it meanwhile is a lost fiftieth of a start.
    gc.disable()
    about_jobs = name in ("list", "describe", "logs", "report", "stop", "prune")
    run: Command = import_module(f"local_mode.{'job_commands' if about_jobs else 'commands'}").run
    gc.enable()
    return run


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
        _run_arguments(command)
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
    add_list_arguments(listed)
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
    pruned.add_argument("--keep", type=count, metavar="N", help="not the newest N")
    pruned.add_argument("--yes", action="store_true", help="remove them")


def _run_arguments(command: argparse.ArgumentParser) -> None:
    add_job_arguments(command)
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


if __name__ == "__main__":
    sys.exit(main())
