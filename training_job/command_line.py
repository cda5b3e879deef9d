"""What the commands of both places have in common: arguments in, exit code out.

Loaded before anything answers --help, so it loads nothing but the standard library.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable

Command = Callable[[argparse.Namespace], int]
_STATUSES = ("InProgress", "Completed", "Failed", "Stopping", "Stopped")


def carry_out(
    parser: argparse.ArgumentParser,
    arguments: list[str] | None,
    command_of: Callable[[str], Command],
    *,
    interrupted: str,
) -> int:
    """Find the command that was asked for, run it, and return its exit code.

    An error with a message is printed, and its code returned; what `interrupted` says goes with code 130.
    """
    # Until a command listens for it, Ctrl-C simply ends this process: nothing here has been started, and what runs in
    # the cloud goes on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no “·” must not end a command.
            stream.reconfigure(errors="replace")
    asked = parser.parse_args(arguments)
    run = command_of(asked.command)
    # Here and not above, as the commands are: --help answers before pydantic and their libraries are loaded.
    from training_job.errors import HomeportError  # noqa: PLC0415

    try:
        code = run(asked)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has read enough: homeport-local plan JOB | head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except HomeportError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print(f"{parser.prog}: {interrupted}", file=sys.stderr)
        code = 130
    return code


def add_job_arguments(command: argparse.ArgumentParser) -> None:
    """A job file, and what the command line changes of it."""
    command.add_argument("job", metavar="JOB", help="a job file (TOML), or a CreateTrainingJob request (JSON)")
    command.add_argument("--instance-count", type=int, metavar="N", help="run on N hosts")
    command.add_argument("--instance-type", metavar="T", help="run on this ml.* type")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a key, such as hyperparameters.epochs=1"
    )
    command.add_argument("--name", help="the training job's name, instead of the job file's with the time")
    add_runs(command)


def add_runs(command: argparse.ArgumentParser) -> None:
    """Where run folders are."""
    command.add_argument("--runs", metavar="DIRECTORY", help="where run folders are (default: runs)")


def add_list_arguments(command: argparse.ArgumentParser) -> None:
    """ListTrainingJobs' own."""
    command.add_argument("--json", action="store_true", help="print ListTrainingJobs' answer")
    command.add_argument("--status", choices=_STATUSES, help="only jobs of this status")
    command.add_argument("--limit", type=count, default=50, metavar="N", help="at most N jobs; 0: all (default: 50)")


def count(text: str) -> int:
    """A whole number of jobs, from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of jobs, not {text!r}")
    return int(text)
