"""The learning rate of every step. Pure."""

import math

POLICIES = ("linear", "sqrt", "none")


def scaled(base, ranks, policy):
    """One rank's learning rate for a batch that is `ranks` times as large.

    linear: times the ranks (Goyal et al., 2017, for SGD); sqrt: times their root (Krizhevsky, 2014); none: as it is.
    """
    return base * {"linear": ranks, "sqrt": math.sqrt(ranks), "none": 1}[policy]


def learning_rate(step, *, base, ranks, policy, warmup_steps, steps_per_epoch, drops, factor):
    """The rate of a step, from 0: up to the scaled one in a line, then times the factor at each epoch of `drops`.

    The warm-up begins with a third of one rank's rate, as Mask R-CNN's own does (He et al., 2017: from 1/3).
    """
    top = scaled(base, ranks, policy)
    if step < warmup_steps:
        return base / 3 + (top - base / 3) * step / warmup_steps
    return top * factor ** sum(step >= epoch * steps_per_epoch for epoch in drops)
