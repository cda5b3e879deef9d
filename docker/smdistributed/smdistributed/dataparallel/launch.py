"""smddprun: start one rank's program, with what mpirun says of the rank in torch.distributed's own variables."""

import os
import sys

PORT = "7592"  # what SageMaker's toolkit takes when there are several hosts


def main():
    """Become the program: `mpirun … smddprun python train.py`."""
    command = sys.argv[1:]
    if not command:
        sys.exit("usage: smddprun PROGRAM [ARGUMENT ...]")
    os.environ.update(rank_environment(os.environ))
    try:
        os.execvp(command[0], command)  # noqa: S606 the command is the user's own
    except OSError as error:
        sys.exit(f"smddprun: {command[0]}: {error.strerror}")


def rank_environment(environment):
    """What torch.distributed wants to know; nothing for a program that mpirun did not start."""
    if "OMPI_COMM_WORLD_RANK" not in environment:
        return {}
    return {
        "RANK": environment["OMPI_COMM_WORLD_RANK"],
        "LOCAL_RANK": environment["OMPI_COMM_WORLD_LOCAL_RANK"],
        "WORLD_SIZE": environment["OMPI_COMM_WORLD_SIZE"],
        "LOCAL_WORLD_SIZE": environment["OMPI_COMM_WORLD_LOCAL_SIZE"],
        # The toolkit names a server only if there is more than one host.
        "MASTER_ADDR": environment.get("SMDATAPARALLEL_SERVER_ADDR", "127.0.0.1"),
        "MASTER_PORT": environment.get("SMDATAPARALLEL_SERVER_PORT", PORT),
    }


if __name__ == "__main__":
    main()
