"""The tests in inside/ are collected by the pytest that runs in the training image, not by this one."""

collect_ignore = ["inside"]
