"""This machine as a place where SageMaker training jobs run."""
