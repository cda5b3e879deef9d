"""What the toolkits are told, as sagemaker 2.257.7 tells them."""

from typing import Any

import pytest

from tests.unit.conftest import ReadFaults, ReadJob
from training_job import script_mode

P3 = "ml.p3.16xlarge"


@pytest.mark.parametrize(
    ("distribution", "told"),
    [
        ({}, {}),
        (
            {"mpi": {"enabled": True}},
            {"sagemaker_mpi_enabled": True, "sagemaker_mpi_custom_mpi_options": ""},
        ),
        (
            {"mpi": {"enabled": True, "processes_per_host": 8, "custom_mpi_options": "--verbose"}},
            {
                "sagemaker_mpi_enabled": True,
                "sagemaker_mpi_num_of_processes_per_host": 8,
                "sagemaker_mpi_custom_mpi_options": "--verbose",
            },
        ),
        ({"mpi": {"enabled": False}}, {"sagemaker_mpi_enabled": False}),
        (
            {"smdistributed": {"dataparallel": {"enabled": True}}},
            {
                "sagemaker_distributed_dataparallel_enabled": True,
                "sagemaker_distributed_dataparallel_custom_mpi_options": "",
                "sagemaker_instance_type": P3,
            },
        ),
        (
            {"smdistributed": {"dataparallel": {"enabled": False}}},
            {"sagemaker_distributed_dataparallel_enabled": False, "sagemaker_instance_type": P3},
        ),
        ({"parameter_server": {"enabled": True}}, {"sagemaker_parameter_server_enabled": True}),
        (
            {"multi_worker_mirrored_strategy": {"enabled": True}},
            {"sagemaker_multi_worker_mirrored_strategy_enabled": True},
        ),
        (
            {"torch_distributed": {"enabled": True}},
            {"sagemaker_torch_distributed_enabled": True, "sagemaker_instance_type": P3},
        ),
        (
            {"pytorchddp": {"enabled": True}},
            {"sagemaker_pytorch_ddp_enabled": True, "sagemaker_instance_type": P3},
        ),
        ({"pytorchxla": {"enabled": True}}, {"sagemaker_pytorch_xla_multi_worker_enabled": True}),
        (
            {"mpi": {"enabled": False}, "instance_groups": ["gpu"]},
            {"sagemaker_mpi_enabled": False, "sagemaker_distribution_instance_groups": ["gpu"]},
        ),
    ],
)
def test_a_distribution_is_these_hyperparameters(distribution: dict[str, Any], told: dict[str, Any]) -> None:
    assert script_mode.distribution_hyperparameters(distribution, P3) == told


def test_the_distribution_of_a_job_file_is_encoded_as_json(read: ReadJob) -> None:
    job = read(
        """
        name = "x"
        image = "i"
        entry_point = "train.py"
        instance_type = "ml.p3.16xlarge"
        [distribution]
        mpi = { enabled = true, processes_per_host = 4, custom_mpi_options = "-x A=1" }
        """
    )

    told = {name: value for name, value in job.hyper_parameters.items() if "mpi" in name}
    assert told == {
        "sagemaker_mpi_enabled": "true",
        "sagemaker_mpi_num_of_processes_per_host": "4",
        "sagemaker_mpi_custom_mpi_options": '"-x A=1"',
    }


@pytest.mark.parametrize(
    ("distribution", "fault"),
    [
        ("distribution = 5", "distribution: must be a table such as [distribution.mpi], not 5"),
        ("distribution.mpl = {}", "distribution.mpl: is not known here; did you mean 'mpi'?"),
        (
            "distribution.mpi = true",
            "distribution.mpi: must be a table with enabled, processes_per_host, custom_mpi_options, not True",
        ),
        ('distribution.mpi.enabled = "false"', "distribution.mpi.enabled: must be true or false, not 'false'"),
        (
            "distribution.mpi.process_per_host = 8",
            "distribution.mpi.process_per_host: is not known here; did you mean 'processes_per_host'?",
        ),
        ("distribution.mpi.processes_per_host = 0", "distribution.mpi.processes_per_host: must be 1 or more, not 0"),
        (
            "distribution.mpi.processes_per_host = true",
            "distribution.mpi.processes_per_host: must be a whole number, not True",
        ),
        (
            "distribution.smdistributed.dataparallel = 5",
            "distribution.smdistributed.dataparallel: must be a table with enabled, custom_mpi_options, not 5",
        ),
        (
            "distribution.smdistributed.dataparallel.enable = true",
            "distribution.smdistributed.dataparallel.enable: is not known here; did you mean 'enabled'?",
        ),
        (
            "distribution.smdistributed.modelparallel = {}",
            "distribution.smdistributed.modelparallel: is not known here; did you mean 'dataparallel'?",
        ),
        ('distribution.instance_groups = "gpu"', "distribution.instance_groups: must be a list, not 'gpu'"),
        ("distribution.instance_groups = [1]", "distribution.instance_groups[0]: must be text, not 1"),
    ],
)
def test_a_distribution_no_toolkit_knows_is_refused(faults: ReadFaults, distribution: str, fault: str) -> None:
    text = f'name = "x"\nimage = "i"\nentry_point = "a.py"\ninstance_type = "{P3}"\n{distribution}'

    assert faults(text) == [f"job.toml:5 {fault}"]


def test_a_distribution_without_an_entry_point_is_refused(faults: ReadFaults) -> None:
    text = f'name = "x"\nimage = "i"\ninstance_type = "{P3}"\n[distribution.mpi]\nenabled = true'

    assert faults(text) == [
        "job.toml:4 distribution: needs an entry_point: the toolkits start it, not the image's own `train`",
    ]


GROUPS = """
instance_groups = [
    { instance_group_name = "data", instance_type = "ml.c5.xlarge", instance_count = 1 },
    { instance_group_name = "dnn", instance_type = "ml.p3.16xlarge", instance_count = 2 },
]"""


@pytest.mark.parametrize(
    ("distribution", "fault"),
    [
        ('instance_groups = ["dn"]', "the job has no instance group 'dn'; did you mean 'dnn'?"),
        ("instance_groups = []", "must name one of the job's groups (data, dnn): a distribution is for one group"),
        (
            'instance_groups = ["data", "dnn"]',
            "must name one of the job's groups (data, dnn): a distribution is for one",
        ),
        ("", "must name one of the job's groups (data, dnn): a distribution is for one group"),
    ],
)
def test_a_distribution_is_for_one_group_of_the_job(faults: ReadFaults, distribution: str, fault: str) -> None:
    head = f'name = "x"\nimage = "i"\nentry_point = "a.py"{GROUPS}'

    (found,) = faults(f"{head}\n[distribution]\nmpi.enabled = true\n{distribution}")

    assert found.startswith(("job.toml:10 distribution.instance_groups: ", "job.toml:8 distribution.instance_groups: "))
    assert fault in found


def test_a_distribution_names_no_group_of_a_job_that_has_none(faults: ReadFaults) -> None:
    text = f'name = "x"\nimage = "i"\nentry_point = "a.py"\ninstance_type = "{P3}"\n[distribution]\nmpi.enabled = true'

    assert faults(f'{text}\ninstance_groups = ["dnn"]') == [
        "job.toml:7 distribution.instance_groups: names groups, and the job has no instance_groups"
    ]


def test_the_groups_may_stand_in_the_request(read: ReadJob) -> None:
    group = 'InstanceGroupName = "dnn", InstanceType = "ml.p3.16xlarge", InstanceCount = 2'
    job = read(
        f"""
        name = "x"
        image = "i"
        entry_point = "a.py"
        [distribution]
        smdistributed.dataparallel.enabled = true
        instance_groups = ["dnn"]
        [request]
        ResourceConfig = {{ InstanceGroups = [{{ {group} }}], InstanceCount = 0 }}
        """
    )

    assert job.hyper_parameters["sagemaker_distribution_instance_groups"] == '["dnn"]'
    # As the SDK sends it: the toolkit then takes each host's own type.
    assert job.hyper_parameters["sagemaker_instance_type"] == "null"
