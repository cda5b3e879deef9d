"""smdistributed.dataparallel.torch over torch.distributed."""
