#!/usr/bin/env bash
# Installs the Debian packages that are missing: for the build, and with --test or --bench those of the tests or of the
# benchmarks too.
# Does nothing, and needs neither root nor network, when all are there.
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache pkg-config
  libboost1.81-dev libboost-json1.81-dev libmosquitto-dev mosquitto-dev libssl-dev libyaml-cpp-dev libsqlite3-dev libpq-dev
  libfmt-dev libexpected-dev libcli11-dev doctest-dev libexpat1-dev zlib1g-dev
  libcurl4-openssl-dev libarchive-dev libjemalloc-dev
  mosquitto mosquitto-clients openssl
)
test_packages=(protobuf-compiler sqlite3 curl git procps postgresql-15 haproxy)
bench_packages=(jq procps binutils time sqlite3 postgresql-15 haproxy)

case ${1:-} in
  "") ;;
  --test) packages+=("${test_packages[@]}") ;;
  --bench) packages+=("${bench_packages[@]}") ;;
  *) echo "usage: ${0##*/} [--test | --bench]" >&2; exit 64 ;;
esac

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || :) == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

echo "installing: ${missing[*]}"
sudo=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || { echo "error: packages are missing and this is not root: run as root: apt-get install ${missing[*]}" >&2; exit 77; }
  sudo=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
