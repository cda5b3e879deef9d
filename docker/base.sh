#!/usr/bin/env bash
# Make the Debian base image exist: here already, else pulled, else built with debootstrap. Prints its name.
# base.sh [CLIENT]: with docker or that client, whose DOCKER_HOST names an engine that answers (docker/engine.sh).
set -euo pipefail

# shellcheck source=versions.env
. "$(dirname "${BASH_SOURCE[0]}")/versions.env"
readonly client=${1:-docker}
readonly image="homeport/debian:$DEBIAN_SUITE"
readonly official="debian:$DEBIAN_SUITE-slim"

main() {
  if ! present "$image"; then
    if present "$official" || "$client" pull --quiet "$official" >/dev/null 2>&1; then
      "$client" tag "$official" "$image"
    else
      build
    fi
  fi
  echo "$image"
}

say() { echo "$*" >&2; }

present() { "$client" image inspect "$1" >/dev/null 2>&1; }

give_up() {
  say "$*"
  exit 3
}

build() {
  if [ "$(id -u)" != 0 ] || [ ! -e /etc/debian_version ]; then
    give_up "$official is neither here nor to be pulled, and building it takes root on Debian or Ubuntu: load it, or tag a Debian image $image."
  fi
  say "Building $image with debootstrap, as $official cannot be pulled."
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  { install_debootstrap && bootstrap "$scratch/debian"; } >"$scratch/log" 2>&1 ||
    give_up "debootstrap failed: $(tail -n 5 "$scratch/log")"
  tar --directory "$scratch/debian" --create . | "$client" import --change 'CMD ["bash"]' - "$image" >/dev/null
}

install_debootstrap() {
  command -v debootstrap >/dev/null && [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends debootstrap debian-archive-keyring
}

bootstrap() {
  local http_proxy=${http_proxy:-} mirror
  [ -n "$http_proxy" ] || eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
  export http_proxy
  mirror=$(sed -n 's/^DEF_MIRROR="\(.*\)"$/\1/p' "$(command -v debootstrap)")
  debootstrap --variant=minbase "$DEBIAN_SUITE" "$1" "${HOMEPORT_APT_MIRROR:-$mirror}" || return
  # A mirror of this house stays out of the image; the builds on it are told again (docker/host_settings.py).
  printf 'deb %s main\n' "$mirror $DEBIAN_SUITE" "$mirror $DEBIAN_SUITE-updates" "$mirror-security $DEBIAN_SUITE-security" \
    >"$1/etc/apt/sources.list"
  rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb "$1"/var/log/*.log
}

main
