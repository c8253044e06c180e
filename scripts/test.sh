#!/usr/bin/env bash
# Builds and runs every test: the programs as shipped, then unit and integration tests again under AddressSanitizer and
# UndefinedBehaviorSanitizer.
#   ./scripts/test.sh [--quick]     --quick leaves the sanitizer build out
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0
case ${1:-} in
  "") ;;
  --quick) quick=1 ;;
  *) sed -n '2,4p' "$0" | sed 's/^# \{0,1\}//'; exit 64 ;;
esac

./scripts/install-packages.sh --test
./scripts/build.sh build
ctest --test-dir build --output-on-failure --timeout 600 -j "$(nproc)"

echo "the agent builds without the provisioner:"
./scripts/build.sh --programs build-agent -DBUILD_PROVISIONER=OFF -DBUILD_TESTS=OFF
./build-agent/bin/provision-agent --version

if [[ $quick == 0 ]]; then
  ./scripts/build.sh --target unit_and_integration_tests build-asan -DSANITIZE=ON -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-g1
  UBSAN_OPTIONS=print_stacktrace=1 ctest --test-dir build-asan --output-on-failure --timeout 600 -j "$(nproc)" \
    -L 'unit|integration'
fi
