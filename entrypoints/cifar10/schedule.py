"""The learning rate of every step. Pure."""

import math

POLICIES = ("linear", "sqrt", "none")


def scaled(base, ranks, policy):
    """One rank's learning rate for a batch that is `ranks` times as large.

    linear: times the ranks (Goyal et al., 2017, for SGD); sqrt: times their root (Krizhevsky, 2014); none: as it is.
    """
    return base * {"linear": ranks, "sqrt": math.sqrt(ranks), "none": 1}[policy]


def learning_rate(step, *, base, ranks, policy, warmup_steps, total_steps):
    """The rate of a step, from 0: up from one rank's to the scaled one, then down to nothing along half a cosine."""
    top = scaled(base, ranks, policy)
    if step < warmup_steps:
        return base + (top - base) * step / warmup_steps
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return top * (1 + math.cos(math.pi * done)) / 2
