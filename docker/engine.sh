#!/usr/bin/env bash
# Make a container engine answer. Prints its address, the value for DOCKER_HOST; words go to stderr.
# Exit 3: none answers, and this machine is not one where we may install and start one.
set -euo pipefail

readonly deadline_seconds=60
readonly log=/var/log/homeport-dockerd.log
readonly lock=/run/homeport-engine.lock
readonly pid_file=/run/docker.pid
readonly containerd_pid_file=/run/docker/containerd/containerd.pid
readonly containerd_socket=/run/containerd/containerd.sock
find_engine="$(dirname "${BASH_SOURCE[0]}")/../container_engine/address.py"

main() {
  if python3 -I "$find_engine"; then
    return
  fi
  if [ -n "${DOCKER_HOST:-}${DOCKER_CONTEXT:-}" ]; then
    give_up "The environment names that engine, and no other is taken instead: start it, or unset DOCKER_HOST and DOCKER_CONTEXT."
  fi
  if [ "$(id -u)" != 0 ] || [ ! -e /etc/debian_version ]; then
    give_up "Start Docker Desktop, docker, podman or colima, or name an engine with DOCKER_HOST."
  fi

  # Two make targets side by side must not start two daemons.
  exec 9>"$lock"
  flock 9
  command -v dockerd >/dev/null || install_docker
  answers || start_dockerd
  await_answer
  python3 -I "$find_engine"
}

say() { echo "$*" >&2; }

give_up() {
  say "$*"
  exit 3
}

answers() { python3 -I "$find_engine" >/dev/null 2>&1; }

install_docker() {
  say "Installing docker.io, as this is a Debian or Ubuntu machine with no engine."
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends docker.io; } \
    >"$log" 2>&1 9>&- || give_up "docker.io could not be installed: $(tail -n 3 "$log")"
}

start_dockerd() {
  if [ -d /run/systemd/system ]; then
    say "Starting docker.service."
    systemctl start docker >&2 || give_up "docker.service does not start: see systemctl status docker."
    return
  fi
  drop_stale_state
  if [ -e "$pid_file" ]; then
    say "Waiting for the dockerd that is starting already."
    return
  fi
  say "Starting dockerd, which logs to $log."
  # Its own session and no file of ours: it outlives this terminal, and make does not wait for it.
  (cd / && exec setsid nohup dockerd </dev/null >"$log" 2>&1 9>&-) &
  daemon=$!
}

# dockerd trusts a pid file whose number another process or a zombie has, and a containerd socket that nobody listens on.
drop_stale_state() {
  runs dockerd "$pid_file" || rm -f "$pid_file"
  runs containerd "$containerd_pid_file" || rm -f "$containerd_pid_file"
  grep -qs " $containerd_socket\$" /proc/net/unix || rm -f "$containerd_socket"
}

runs() {
  local pid
  pid=$(cat "$2" 2>/dev/null) && [ "$(basename "$(readlink "/proc/$pid/exe")")" = "$1" ]
}

await_answer() {
  local end=$((SECONDS + deadline_seconds))
  until answers; do
    if [ "$SECONDS" -ge "$end" ] || ! kill -0 "${daemon:-$$}" 2>/dev/null; then
      give_up "The engine does not answer. Its last words, in $log: $(tail -n 5 "$log" 2>/dev/null)"
    fi
    sleep 0.2
  done
}

main
