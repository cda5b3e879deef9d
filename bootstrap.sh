#!/usr/bin/env bash
# Make .venv and install Homeport into it, with the extras that are named: bootstrap.sh data dev
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

main() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    give_up "Homeport needs python3, 3.11 or newer; found: $(python3 --version 2>&1 || true). Install one and try again."
  [ -x .venv/bin/pip ] || make_venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$(IFS=,; echo "$*")]"
  case " $* " in *" dev "*) add_fuse ;; esac
  # Where PYTHONDONTWRITEBYTECODE is set, every command would compile every module again.
  .venv/bin/python -m compileall -q container_engine local_mode training_job
}

make_venv() {
  python3 -m venv --clear .venv >/dev/null 2>&1 && return
  # Debian's python3 comes without ensurepip.
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    give_up "python3 cannot make a virtual environment here. On Debian or Ubuntu: sudo apt-get install python3-venv"
  echo "Installing python3-venv, which this python3 comes without." >&2
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv; } >/dev/null
  python3 -m venv --clear .venv
}

# The tests of FastFile and of linked file systems mount. A person's own machine is left as it is, and told what it lacks.
add_fuse() {
  [ -e /dev/fuse ] && ! command -v fusermount3 >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  echo "Installing fuse3, which the tests need." >&2
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends fuse3; } >/dev/null
}

give_up() {
  echo "$*" >&2
  exit 3
}

main "$@"
