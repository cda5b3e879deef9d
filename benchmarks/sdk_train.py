"""The SageMaker SDK's local mode on one image: what start.py measures, run by the SDK's own environment.

sdk_train.py IMAGE HOSTS
"""

import sys
from pathlib import Path

import boto3
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession

image, hosts = sys.argv[1:]
keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
# Its report of every fit() would ask AWS twice.
quiet = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
Estimator(
    image_uri=image,
    role="arn:aws:iam::123456789012:role/none",
    instance_type="local",
    instance_count=int(hosts),
    output_path=(Path.cwd() / "artifacts").as_uri(),
    sagemaker_session=LocalSession(boto3.Session(region_name="us-west-2", **keys), sagemaker_config=quiet),
).fit()
