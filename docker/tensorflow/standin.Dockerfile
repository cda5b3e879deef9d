# The CPU twin of a SageMaker TensorFlow image: what that image gives the SageMaker toolkits, on Debian's Python and OpenMPI.
# Built by docker/image.sh with docker/ as its context and versions.env as its arguments.
ARG BASE_IMAGE

FROM ${BASE_IMAGE} AS system
# bash reads the secret, this machine's own way to the outside, before every RUN that mounts it (host_settings.py).
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ARG BASH_ENV=/run/secrets/host
ARG DEBIAN_FRONTEND=noninteractive
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -qq && apt-get install -qq --no-install-recommends \
      ca-certificates curl openmpi-bin openssh-client openssh-server python3 python3-venv

FROM system AS tensorflow
ARG TENSORFLOW_VERSION TF_KERAS_VERSION MPI4PY_VERSION
ARG PIP_CONSTRAINT=/run/constraints.txt
ENV PATH=/opt/venv/bin:${PATH}
# tf-keras asks for `tensorflow`, which would put the GPU wheel over this one.
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=constraints.txt,target=/run/constraints.txt \
    python3 -m venv /opt/venv && \
    pip install setuptools "tensorflow-cpu==${TENSORFLOW_VERSION}" "mpi4py==${MPI4PY_VERSION}" && \
    pip install --no-deps "tf-keras==${TF_KERAS_VERSION}"

FROM tensorflow AS wheels
ARG HOROVOD_VERSION SAGEMAKER_TRAINING_VERSION SAGEMAKER_TENSORFLOW_TRAINING_VERSION
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -qq && apt-get install -qq --no-install-recommends ccache g++ libopenmpi-dev make python3-dev
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=constraints.txt,target=/run/constraints.txt \
    --mount=type=bind,source=horovod_wheel.sh,target=/run/horovod_wheel.sh \
    PATH=/usr/lib/ccache:${PATH} bash /run/horovod_wheel.sh /wheels
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=constraints.txt,target=/run/constraints.txt \
    pip wheel --no-build-isolation --wheel-dir /wheels "sagemaker-training==${SAGEMAKER_TRAINING_VERSION}" && \
    pip wheel --no-build-isolation --wheel-dir /wheels --no-deps \
      "sagemaker-tensorflow-training==${SAGEMAKER_TENSORFLOW_TRAINING_VERSION}"

FROM tensorflow
# sagemaker-tensorflow-training pins the sagemaker-training and numpy of years ago, and runs with today's.
RUN --mount=type=bind,from=wheels,source=/wheels,target=/run/wheels \
    --mount=type=bind,source=constraints.txt,target=/run/constraints.txt \
    pip install --no-index --no-cache-dir --find-links /run/wheels horovod sagemaker-training && \
    pip install --no-index --no-cache-dir --no-deps /run/wheels/sagemaker_tensorflow_training-*.whl
RUN --mount=type=bind,source=sagemaker_layer.sh,target=/run/sagemaker_layer.sh \
    bash /run/sagemaker_layer.sh

RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=constraints.txt,target=/run/constraints.txt \
    --mount=type=bind,source=tensorflow/model_garden.txt,target=/run/model_garden.txt \
    pip install --no-deps --requirement /run/model_garden.txt

# On cores that the ranks share, one that waits gives way to one that computes; a GPU's rank has its own.
ENV OMPI_MCA_mpi_yield_when_idle=1
ARG TENSORFLOW_VERSION
ENV SAGEMAKER_TRAINING_MODULE=sagemaker_tensorflow_container.training:main \
    TF_VERSION=${TENSORFLOW_VERSION} \
    TF_AUTOTUNE_THRESHOLD=2 \
    PYTHON=python3 \
    PIP=pip3 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONIOENCODING=UTF-8 \
    LANG=C.UTF-8 \
    LC_ALL=C.UTF-8 \
    LD_LIBRARY_PATH=/usr/local/lib \
    KMP_AFFINITY=granularity=fine,compact,1,0 \
    KMP_BLOCKTIME=1 \
    KMP_SETTINGS=0 \
    RDMAV_FORK_SAFE=1 \
    DLC_CONTAINER_TYPE=training
SHELL ["/bin/sh", "-c"]
CMD ["/bin/bash"]
