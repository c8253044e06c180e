#!/usr/bin/env bash
# Builds and runs every test: the system tests on the programs as they are shipped, unit and integration tests under
# AddressSanitizer and UndefinedBehaviorSanitizer.
#   ./scripts/test.sh [--quick]     --quick builds once, without sanitizers, and runs all tests on that
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0
case ${1:-} in
  "") ;;
  --quick) quick=1 ;;
  *) sed -n '2,4p' "$0" | sed 's/^# \{0,1\}//'; exit 64 ;;
esac

run_tests() { # FOLDER JOBS OPTIONS…
  ctest --test-dir "$1" --output-on-failure --timeout 600 -j "$2" "${@:3}"
}
cores=$(nproc)

./scripts/install-packages.sh --test
if [[ $quick == 1 ]]; then
  ./scripts/build.sh build
  run_tests build "$cores"
  exit
fi

./scripts/build.sh --programs build
./scripts/build.sh --target system_tests build
# they wait for the clock most of the time
run_tests build $((cores * 2)) -L system

echo "the agent builds without the provisioner:"
./scripts/build.sh --programs build-agent -DBUILD_PROVISIONER=OFF -DBUILD_TESTS=OFF
./build-agent/bin/provision-agent --version

./scripts/build.sh --target unit_and_integration_tests build-asan -DSANITIZE=ON -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG=-g1
UBSAN_OPTIONS=print_stacktrace=1 run_tests build-asan "$cores" -L 'unit|integration'
