"""SageMaker as a place: the image that passed here and the job that passed here, sent there."""
