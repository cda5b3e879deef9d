"""Print which of our images a job runs in, as image.sh names it: framework_of.py JOB. Nothing where it is another's."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from training_job.errors import HomeportError
from training_job.job_file import read_job


def main() -> int:
    """Exit with the error's own code where the job file is wrong."""
    try:
        job = read_job(Path(sys.argv[1]), now=datetime.now(UTC), region="us-west-2")
    except HomeportError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    ours = re.match(r"homeport/(tensorflow|pytorch)\b", str(job.algorithm_specification.training_image))
    print(ours[1] if ours else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
