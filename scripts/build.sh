#!/usr/bin/env bash
# Builds into build/ (or the folder given): ./scripts/build.sh [FOLDER [cmake arguments…]]
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-build}
shift $(( $# > 0 ? 1 : 0 ))
cmake -G Ninja -S . -B "$folder" "$@" >"$folder.configure.log" 2>&1 || { cat "$folder.configure.log" >&2; exit 1; }
rm -f "$folder.configure.log"
cmake --build "$folder"
