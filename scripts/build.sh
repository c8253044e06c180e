#!/usr/bin/env bash
# Builds: ./scripts/build.sh [--programs] [FOLDER [cmake arguments…]]
#   --programs  only what a user runs: provisioner, its plugin, provision-agent; without it the tests too
#   FOLDER      default: build
set -euo pipefail
cd "$(dirname "$0")/.."

target=all
if [[ ${1:-} == --programs ]]; then
  target=programs
  shift
fi
folder=${1:-build}
[[ $# -eq 0 ]] || shift

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake -G Ninja -S . -B "$folder" "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
cmake --build "$folder" --target "$target"
