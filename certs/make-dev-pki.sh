#!/usr/bin/env bash
# Makes the development PKI of an owner account's broker with the openssl command. Not for production: the root key lies
# beside the rest.
set -euo pipefail

readonly EX_USAGE=64 EX_SOFTWARE=70 EX_CANTCREAT=73
readonly LEAF_DAYS=365 ROOT_DAYS=3650

usage() {
  cat <<'TEXT'
usage: make-dev-pki.sh OUT_DIR [HOST…]

Makes in OUT_DIR, which must not exist or be empty:
  owner-root.crt  owner-root.key  the root CA that devices trust for the owner's broker
  server.crt      server.key      the broker's certificate for each HOST, a DNS name or an IP address
                                  (default: localhost 127.0.0.1 ::1)
  operator.crt    operator.key    a client certificate with the common name "operator"
TEXT
}

die() {
  local code=$1
  shift
  echo "error: $*" >&2
  exit "$code"
}

# Runs a command whose chatter on stderr matters only if it fails.
quietly() {
  "$@" 2>"$work/log" || { cat "$work/log" >&2; die "$EX_SOFTWARE" "$1 $2 failed"; }
}

is_ipv4() {
  local part
  [[ $1 =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}$ ]] || return 1
  for part in ${1//./ }; do
    ((10#$part <= 255)) || return 1
  done
}

# The text forms of RFC 4291, §2.2.
is_ipv6() {
  local address=$1 group groups=0
  if [[ $address == *.* ]]; then # IPv4 at the end, in the place of two groups
    is_ipv4 "${address##*:}" || return 1
    address=${address%:*}:0:0
  fi
  [[ $address =~ ^[0-9A-Fa-f:]+$ && $address != *:::* && $address != *::*::* ]] || return 1
  [[ $address != :[!:]* && $address != *[!:]: ]] || return 1 # one colon at an end
  for group in ${address//:/ }; do
    ((${#group} <= 4)) || return 1
    groups=$((groups + 1))
  done
  if [[ $address == *::* ]]; then ((groups < 8)); else ((groups == 8)); fi
}

# subject_alt_name HOST…: the value of a subjectAltName extension.
subject_alt_name() {
  local host names=()
  for host in "$@"; do
    if is_ipv4 "$host" || is_ipv6 "$host"; then
      names+=("IP:$host")
    elif [[ ! $host =~ ^[0-9.]+$ && $host =~ ^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$ ]]; then
      names+=("DNS:$host")
    else
      die "$EX_USAGE" "$host: neither a DNS name nor an IP address"
    fi
  done
  local IFS=,
  echo "${names[*]}"
}

make_key() {
  quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$1.key"
}

make_root() {
  make_key owner-root
  quietly openssl req -x509 -new -sha256 -key "$work/owner-root.key" -config "$profiles/owner-root.cnf" \
    -days "$ROOT_DAYS" -out "$work/owner-root.crt"
}

# make_leaf NAME: a certificate by the profile owner-NAME.cnf.
make_leaf() {
  make_key "$1"
  quietly openssl req -new -key "$work/$1.key" -config "$profiles/owner-$1.cnf" -out "$work/$1.csr"
  quietly openssl x509 -req -sha256 -in "$work/$1.csr" -CA "$work/owner-root.crt" -CAkey "$work/owner-root.key" \
    -set_serial "0x$(openssl rand -hex 16)" -days "$LEAF_DAYS" \
    -extfile "$profiles/owner-$1.cnf" -extensions extensions -out "$work/$1.crt"
  rm "$work/$1.csr"
}

for argument in "$@"; do
  case "$argument" in
    -h | --help) usage; exit 0 ;;
    "" | -*) usage >&2; exit "$EX_USAGE" ;;
  esac
done
[[ $# -gt 0 ]] || { usage >&2; exit "$EX_USAGE"; }
out=${1%/}
shift
[[ $# -gt 0 ]] || set -- localhost 127.0.0.1 ::1
command -v openssl >/dev/null || die "$EX_SOFTWARE" "openssl: not found: apt-get install openssl"
profiles=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
if [[ -e $out || -L $out ]] && [[ ! -d $out || -n $(ls -A -- "$out") ]]; then
  die "$EX_CANTCREAT" "$out: there is something already: nothing was changed; remove it or choose another folder"
fi
SAN=$(subject_alt_name "$@")
export SAN

umask 077 # keys are born 0600
why=$(mkdir -p -- "$(dirname -- "$out")" 2>&1) || die "$EX_CANTCREAT" "$out: cannot be made: ${why##*: }"
work=$(mktemp -d -- "$out.XXXXXX" 2>&1) || die "$EX_CANTCREAT" "$out: cannot be made: ${work##*: }"
trap 'rm -rf -- "$work"' EXIT
make_root
make_leaf server
make_leaf operator
rm -f "$work/log"
chmod 0644 "$work"/*.crt
chmod 0755 "$work"
mv -T -- "$work" "$out"

echo "made the development PKI of an owner's broker in $out:"
echo "  owner-root.crt, owner-root.key  root CA, $ROOT_DAYS days"
echo "  server.crt, server.key          for $*, $LEAF_DAYS days"
echo "  operator.crt, operator.key      client certificate CN=operator, $LEAF_DAYS days"
