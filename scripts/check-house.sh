#!/usr/bin/env bash
# Keeps the picture of the house true: who may include whom, and which third-party header lives in which room.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
# refuse PATTERN WHY WHERE…: no file below WHERE may have a line that matches
refuse() {
  local pattern=$1 why=$2 hits
  shift 2
  if hits=$(grep -rnE --include='*.cpp' --include='*.hpp' "$pattern" "$@"); then
    printf 'error: %s:\n%s\n' "$why" "$hits" >&2
    failed=1
  fi
}
refuse '#include "(provisioner|agent)/' 'core/ knows neither program' core
refuse '#include "agent/' 'the provisioner does not know the agent' provisioner
refuse '#include "provisioner/' 'the agent does not know the provisioner' agent
for room in protocol crypto mqtt config cli; do
  others=$(printf '%s\n' protocol crypto mqtt config cli | grep -v "^$room$" | paste -sd'|')
  refuse "#include \"core/($others)/" "core/$room includes only core/base besides itself" "core/$room"
done
refuse '#include "core/(protocol|crypto|mqtt|config|cli)/' 'core/base stands alone' core/base
rooms() { find "$@" -type d; }
refuse '#include <openssl/' 'OpenSSL is used in core/crypto only' provisioner agent core/base core/protocol core/mqtt core/config core/cli
refuse '#include <mosquitto' 'libmosquitto is used in core/mqtt and the plugin only' agent core/base core/protocol core/crypto core/config core/cli \
  $(rooms provisioner -mindepth 1 -maxdepth 1 ! -name plugin)
refuse '#include <yaml-cpp' 'yaml-cpp is used in core/config only' provisioner agent core/base core/protocol core/crypto core/mqtt core/cli
refuse '#include <CLI/' 'CLI11 is used in core/cli and the programs'\'' command lines only' core/base core/protocol core/crypto core/mqtt core/config \
  $(rooms provisioner agent -mindepth 1 -maxdepth 1 ! -name cli)
refuse '#include <sqlite3' 'SQLite is used in the store and the plugin only' agent core \
  $(rooms provisioner -mindepth 1 -maxdepth 1 ! -name plugin ! -name store)
refuse '#include [<"](libpq|postgres)' 'libpq is used in provisioner/store_postgres only' agent core \
  $(rooms provisioner -mindepth 1 -maxdepth 1 ! -name store_postgres)
refuse '#include <(curl/|archive)' 'libcurl and libarchive are used in agent/apply only' core provisioner $(rooms agent -mindepth 1 -maxdepth 1 ! -name apply)
refuse 'co_await|co_return' 'g++ 12.2 double-frees temporaries in co_await: use plain handlers' core provisioner agent
exit $failed
