"""What the scripts with several ranks ask of the library that joins them, be it Horovod or SMDDP."""

import tensorflow as tf


def average(dist, tensor):
    """The mean of a tensor over all ranks. SMDDP has a call of its own for what is no gradient."""
    return getattr(dist, "oob_allreduce", dist.allreduce)(tensor)


def start_alike(dist, model, optimizer, done):
    """Give all ranks the weights, the optimizer's state and the epochs or steps done of rank 0; returns these."""
    dist.broadcast_variables([*model.variables, *optimizer.variables()], root_rank=0)
    return int(dist.broadcast(tf.constant(done), root_rank=0))


def average_moving_statistics(dist, model):
    """Average what batch normalisation has seen: only gradients are averaged, so each rank has its own."""
    for variable in model.non_trainable_variables:
        variable.assign(average(dist, variable))
