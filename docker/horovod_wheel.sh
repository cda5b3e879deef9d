#!/usr/bin/env bash
# Build Horovod's wheel for the TensorFlow or PyTorch that this image holds, and gather those it needs:
# horovod_wheel.sh DIRECTORY.
# Leaves the directory empty where the image has Horovod. Wants HOROVOD_VERSION; compiles for CUDA where CUDA is.
set -euo pipefail

readonly wheels=$1
mkdir -p "$wheels"

# Found without importing it: a GPU build cannot be imported while an image is built, as the driver is the host's.
holds() { python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)' "$1"; }

if holds horovod; then
  exit
fi

if ! { command -v g++ && command -v make; } >/dev/null; then
  if command -v dnf >/dev/null; then
    dnf install -y gcc-c++ make
  else
    apt-get update -qq
    apt-get install -qq --no-install-recommends g++ make
  fi
fi

export HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MXNET=1
if holds tensorflow; then
  export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1
else
  export HOROVOD_WITH_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1
fi
if [ -d /usr/local/cuda ]; then
  export HOROVOD_GPU_OPERATIONS=NCCL
  ldconfig /usr/local/cuda/lib64/stubs
  # From TensorFlow 2.21 on NCCL comes as a pip package, without the name that a linker looks for.
  nccl=$(python -c 'import nvidia.nccl; print(nvidia.nccl.__path__[0])' 2>/dev/null || true)
  if [ -n "$nccl" ]; then
    ln -sf libnccl.so.2 "$nccl/lib/libnccl.so"
    export HOROVOD_NCCL_HOME=$nccl HOROVOD_NCCL_LINK=SHARED
  fi
else
  export HOROVOD_CPU_OPERATIONS=MPI
fi
MAKEFLAGS=-j$(nproc)
export MAKEFLAGS LDFLAGS=-s

# Always the same path, as ccache tells one compilation from another by its paths too.
mkdir /tmp/horovod
cd /tmp/horovod
# setup.py fails with setuptools 70 and later, Horovod's own CMake files with CMake 4.
python -m pip install 'setuptools<70' 'wheel<0.46' 'cmake<4' cloudpickle packaging psutil pyyaml
python -m pip download --no-deps --no-build-isolation --no-binary horovod "horovod==$HOROVOD_VERSION"
tar --extract --strip-components 1 --file "horovod-$HOROVOD_VERSION.tar.gz"

# TensorFlow's wheels lack the LLVM headers that XLA's include: no HOROVOD_ENABLE_XLA_OPS, which is off unless asked for.
sed -i '/xla_mpi_ops.cc/d' horovod/tensorflow/CMakeLists.txt
# There `keras` is tf.keras, which is Keras 2 with TF_USE_LEGACY_KERAS; the package named keras is Keras 3 since TensorFlow 2.16.
sed -i 's/from keras import backend as K/K = keras.backend/' horovod/tensorflow/keras/{__init__,callbacks}.py

python -m pip wheel --no-build-isolation --wheel-dir "$wheels" .

holds keras || exit 0
# Horovod knows Keras 2 alone, which since TensorFlow 2.16 is tf-keras.
keras3_only='import sys; from importlib.metadata import version; from importlib.util import find_spec
sys.exit(version("keras") < "3" or find_spec("tf_keras") is not None)'
if python -c "$keras3_only"; then
  tensorflow=$(python -c 'import tensorflow; print(tensorflow.__version__)')
  python -m pip download --no-deps --dest "$wheels" "tf-keras==${tensorflow%.*}.*"
fi
