"""SMDDP's public names and signatures as AWS documents them, typed in from its pages, not from our code.

TensorFlow: https://sagemaker.readthedocs.io/en/stable/api/training/sdp_versions/latest/smd_data_parallel_tensorflow.html
PyTorch: the same folder, v1.2.x/smd_data_parallel_pytorch.html, which `latest` deprecates and still lists.
`sparse_as_dense` is on since 1.2.1 (release notes). What the pages name without its default stands as Horovod and
torch have it.
"""

TENSORFLOW = {
    "init": "",
    "size": "",
    "local_size": "",
    "rank": "",
    "local_rank": "",
    "allreduce": "tensor, param_index, num_params, compression=Compression.none, op=ReduceOp.AVERAGE",
    "oob_allreduce": "tensor, compression=Compression.none, op=ReduceOp.AVERAGE",
    "broadcast": "tensor, root_rank",
    "broadcast_variables": "variables, root_rank",
    "broadcast_global_variables": "root_rank",
    "overlap": "tensor",
    "shutdown": "",
    "DistributedGradientTape": (
        "gradtape, device_dense='', device_sparse='', compression=Compression.none, sparse_as_dense=True, "
        "op=ReduceOp.AVERAGE"
    ),
    "DistributedOptimizer": (
        "optimizer, name=None, use_locking=False, device_dense='', device_sparse='', compression=Compression.none, "
        "sparse_as_dense=True, op=ReduceOp.AVERAGE, bucket_cap_mb=25"
    ),
    "BroadcastGlobalVariablesHook": "root_rank",
}
TENSORFLOW_NAMES = {"Compression": ("none", "fp16"), "ReduceOp": ("AVERAGE", "SUM", "MIN", "MAX")}

TORCH = {
    "is_available": "",
    "init_process_group": "*args, **kwargs",
    "is_initialized": "",
    "get_world_size": "group=group.WORLD",
    "get_rank": "group=group.WORLD",
    "get_local_rank": "",
    "all_reduce": "tensor, op=ReduceOp.SUM, group=group.WORLD, async_op=False",
    "broadcast": "tensor, src=0, group=group.WORLD, async_op=False",
    "all_gather": "tensor_list, tensor, group=group.WORLD, async_op=False",
    "all_to_all_single": (
        "output_t, input_t, output_split_sizes=None, input_split_sizes=None, group=group.WORLD, async_op=False"
    ),
    "barrier": "group=group.WORLD, async_op=False",
}
TORCH_DDP = (
    "module, device_ids=None, output_device=None, broadcast_buffers=True, process_group=None, bucket_cap_mb=None"
)

# Not documented: what public programs import of it.
KERAS = (
    "init",
    "size",
    "local_size",
    "rank",
    "local_rank",
    "DistributedOptimizer",
    "callbacks.BroadcastGlobalVariablesCallback",
)
