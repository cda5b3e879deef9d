#!/bin/sh
# Let a job's own source take the place of the code in this image, here and in the cloud: the toolkit unpacks
# source only into an empty /opt/ml/code (sagemaker-training 5.1.4, files.py:121), and would run the image's code instead.
sent='"sagemaker_submit_directory": *"(\\")?(s3://|/opt/ml/input/)'
if [ "${1:-}" = train ] && grep -Eqs "$sent" /opt/ml/input/config/hyperparameters.json; then
  find /opt/ml/code -mindepth 1 -delete
fi
# The base image's entrypoint, where it has one: words without blanks in them.
exec $HOMEPORT_BASE_ENTRYPOINT "$@"
