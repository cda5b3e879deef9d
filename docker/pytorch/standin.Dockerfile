# The CPU twin of a SageMaker PyTorch image: what that image gives the SageMaker toolkits, on Debian's PyTorch and OpenMPI.
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

FROM system AS pytorch
ARG PYTORCH_VERSION
ARG TORCHVISION_VERSION
# Debian's: PyPI's torchvision is for CUDA alone.
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -qq && apt-get install -qq --no-install-recommends \
      "python3-torch=${PYTORCH_VERSION}*" "python3-torchvision=${TORCHVISION_VERSION}*"
ARG MPI4PY_VERSION
ENV PATH=/opt/venv/bin:${PATH}
ARG PIP_CONSTRAINT=/opt/venv/constraints.txt
# Debian's torchrun would start the ranks with Debian's python, which lacks what the virtual environment adds.
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=constraints.txt,target=/run/constraints.txt \
    --mount=type=bind,source=pytorch/constraints.txt,target=/run/pytorch/constraints.txt \
    python3 -m venv --system-site-packages /opt/venv && \
    sed '/^\(numpy\|scipy\)==/d' /run/constraints.txt | cat - /run/pytorch/constraints.txt >"${PIP_CONSTRAINT}" && \
    pip install setuptools wheel "mpi4py==${MPI4PY_VERSION}" && \
    sed '1s|.*|#!/opt/venv/bin/python|' /usr/bin/torchrun >/opt/venv/bin/torchrun && \
    chmod +x /opt/venv/bin/torchrun

FROM pytorch AS wheels
ARG HOROVOD_VERSION
ARG SAGEMAKER_TRAINING_VERSION
ARG SAGEMAKER_PYTORCH_TRAINING_VERSION
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -qq && apt-get install -qq --no-install-recommends \
      ccache g++ libopenmpi-dev libtorch-dev make pybind11-dev python3-dev
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=horovod_wheel.sh,target=/run/horovod_wheel.sh \
    PATH=/usr/lib/ccache:${PATH} bash /run/horovod_wheel.sh /wheels
RUN --mount=type=secret,id=host \
    --mount=type=cache,target=/root/.cache \
    pip wheel --no-build-isolation --wheel-dir /wheels \
      "sagemaker-training==${SAGEMAKER_TRAINING_VERSION}" \
      "sagemaker-pytorch-training==${SAGEMAKER_PYTORCH_TRAINING_VERSION}"

FROM pytorch
RUN --mount=type=bind,from=wheels,source=/wheels,target=/run/wheels \
    pip install --no-index --no-cache-dir --find-links /run/wheels horovod sagemaker-pytorch-training
RUN --mount=type=bind,source=sagemaker_layer.sh,target=/run/sagemaker_layer.sh \
    bash /run/sagemaker_layer.sh
# From Python 3.11 on a flag that is 0 is not among those that an enum gives, and torchrun of 1.13 looks for it there.
RUN sed -i 's/for s in Std:/for s in Std.__members__.values():/' \
      /usr/lib/python3/dist-packages/torch/distributed/elastic/multiprocessing/api.py

ENV SAGEMAKER_TRAINING_MODULE=sagemaker_pytorch_container.training:main \
    PYTHON=python3 \
    PIP=pip3 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONIOENCODING=UTF-8 \
    LANG=C.UTF-8 \
    LC_ALL=C.UTF-8 \
    LD_LIBRARY_PATH=/usr/local/lib \
    OMP_WAIT_POLICY=PASSIVE \
    RDMAV_FORK_SAFE=1 \
    DLC_CONTAINER_TYPE=training
SHELL ["/bin/sh", "-c"]
CMD ["/bin/bash"]
