#!/usr/bin/env bash
# Build a training image: image.sh tensorflow|pytorch [cpu|gpu]. Prints its name; what was built before is not built again.
# BASE_IMAGE names a SageMaker image to extend, in place of the CPU twin or the GPU image of versions.env.
set -euo pipefail

docker=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly docker root=${docker%/*}
# shellcheck source=versions.env
. "$docker/versions.env"

main() {
  local framework=${1:-} processor=${2:-cpu} base=${BASE_IMAGE:-}
  case $framework-$processor in
    tensorflow-cpu | tensorflow-gpu | pytorch-cpu | pytorch-gpu) ;;
    *) say "usage: docker/image.sh tensorflow|pytorch [cpu|gpu]" && exit 2 ;;
  esac

  DOCKER_HOST=$("$docker/engine.sh")
  export DOCKER_HOST CONTAINER_HOST=$DOCKER_HOST
  client=$(choose_client)
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT

  if [ -z "$base" ] && [ "$processor" = cpu ]; then
    base=homeport/$framework-standin:$(pinned VERSION)-cpu
    build_twin "$base"
  else
    base=${base:-$(python3 -I "$root/cloud/dlc.py" "$framework" "$(pinned GPU_VERSION)" gpu "$(region)")}
    take_sagemaker_image "$base"
  fi
  build "homeport/$framework:$processor" "$docker/$framework/Dockerfile" "$root" \
    --build-arg "BASE_IMAGE=$base" \
    --build-arg "BASE_DIGEST=$(digest "$base")" \
    --build-arg "BASE_ENTRYPOINT=$("$client" image inspect --format '{{join .Config.Entrypoint " "}}' "$base")" \
    --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")" \
    --build-arg "REVISION=$(git -C "$root" describe --always --exclude '*' --abbrev=40 --dirty || echo unknown)"
  echo "homeport/$framework:$processor"
}

say() { echo "$*" >&2; }

# What versions.env says of the framework: pinned VERSION is TENSORFLOW_VERSION or PYTORCH_VERSION.
pinned() {
  local name=${framework^^}_$1
  echo "${!name}"
}

give_up() {
  say "$*"
  exit 3
}

# BuildKit comes with the docker client: as a plugin, or inside those before 23. podman's engine has only its own client.
choose_client() {
  local candidate
  case $DOCKER_HOST in *podman*)
    echo podman
    return
    ;;
  esac
  for candidate in docker /usr/bin/docker; do
    if command -v "$candidate" >/dev/null && speaks_buildkit "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  give_up "No docker client here can build with BuildKit: install its buildx plugin, or on Debian 12 the package docker.io."
}

speaks_buildkit() {
  local version
  "$1" buildx version >/dev/null 2>&1 && return
  version=$("$1" version --format '{{.Client.Version}}') && [ "${version%%.*}" -lt 23 ]
}

build_twin() {
  local debian
  debian=$("$docker/base.sh" "$client")
  python3 -I "$docker/host_settings.py" "$DEBIAN_SUITE" >"$scratch/host"
  build "$1" "$docker/$framework/standin.Dockerfile" "$docker" --build-arg "BASE_IMAGE=$debian"
}

# Where SageMaker's own images come from: the account of this region has them.
region() {
  local written
  written=$(sed -n '/^\[cloud\]/,/^\[/s/^ *region *= *"\([^"]*\)".*/\1/p' "$root/homeport.toml")
  echo "${HOMEPORT_REGION:-${written:-us-west-2}}"
}

take_sagemaker_image() {
  python3 -I "$docker/host_settings.py" >"$scratch/host"
  "$client" image inspect "$1" >/dev/null 2>&1 || fetch_signed_in "$1" || "$client" pull "$1" >&2 ||
    give_up "$1 is neither here nor to be pulled. For one of AWS sign in first: $(python3 -I "$root/cloud/dlc.py" --sign-in "$1")"
}

# .venv, where it is there, signs in with the AWS credentials of whoever runs this, and leaves no sign-in behind.
fetch_signed_in() {
  case $1 in *.dkr.ecr.*) ;; *) return 1 ;; esac
  [ -x "$root/.venv/bin/python" ] && (cd "$root" && .venv/bin/python -m cloud.base_image "$1" >&2)
}

# What a registry knows the image by; for one that was built here, what the engine does.
digest() {
  "$client" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}{{.Id}}' "$1" | sed '1!d; s/.*@//'
}

# build IMAGE DOCKERFILE CONTEXT [OPTION...]
build() {
  local image=$1 dockerfile=$2 context=$3 versions
  shift 3
  mapfile -t versions < <(sed -n 's/^[A-Z]/--build-arg=&/p' "$docker/versions.env")
  DOCKER_BUILDKIT=1 BUILDX_BUILDER=default \
    "$client" build --network host --secret "id=host,src=$scratch/host" "${versions[@]}" "$@" \
    --file "$dockerfile" --tag "$image" "$context" 2>&1 | tee "$scratch/log" | show_steps >&2 || {
    tail -n 40 "$scratch/log" >&2
    give_up "$image could not be built: the end of the build's log is above."
  }
}

# Of BuildKit's log the steps that really run, which are those that say more than CACHED.
show_steps() {
  awk '/^#[0-9]+ \[.*\] (RUN|COPY)/ { id = $1; sub(/^#[0-9]+ /, ""); gsub(/--[^ ]+ +/, ""); step[id] = $0 }
       /^#[0-9]+ [0-9.]+ / && $1 in step { print substr(step[$1], 1, 100); delete step[$1]; fflush() }'
}

main "$@"
