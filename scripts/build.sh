#!/usr/bin/env bash
# Builds: ./scripts/build.sh [--programs | --target NAME] [FOLDER [cmake arguments…]]
#   --programs     only what a user runs: provisioner, its plugin, provision-agent; without it the tests too
#   --target NAME  only that target of CMake
#   FOLDER         default: build
set -euo pipefail
cd "$(dirname "$0")/.."

target=all
case ${1:-} in
  --programs) target=programs; shift ;;
  --target) target=${2:?a target}; shift 2 ;;
  -*) sed -n '2,5p' "$0" | sed 's/^# \{0,1\}//'; exit 64 ;;
esac
folder=${1:-build}
[[ $# -eq 0 ]] || shift

# What one folder has compiled serves the others, precompiled headers too.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake -G Ninja -S . -B "$folder" "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
cmake --build "$folder" --target "$target"
