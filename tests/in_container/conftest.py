"""The tests in inside/ and inside_pytorch/ are collected by a pytest in a training image, not by this one."""

collect_ignore = ["inside", "inside_pytorch"]
