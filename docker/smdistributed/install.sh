#!/usr/bin/env bash
# Install the SMDDP emulation into this image, unless it has the real library: install.sh DIRECTORY.
set -euo pipefail

# Found without importing it: the real one wants a GPU's driver, which is the host's and not there while an image is built.
if python -c 'import importlib.util, sys
try:
    sys.exit(importlib.util.find_spec("smdistributed.dataparallel") is None)
except ModuleNotFoundError:
    sys.exit(1)'; then
  exit
fi

python -m pip install --no-index --no-cache-dir --no-deps --no-build-isolation "$1"
