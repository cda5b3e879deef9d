"""The reductions of a collective."""

import enum


class ReduceOp(enum.Enum):
    """How the tensors of all ranks become one."""

    AVERAGE = "AVERAGE"
    SUM = "SUM"
    MIN = "MIN"
    MAX = "MAX"
