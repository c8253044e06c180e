# shellcheck shell=bash
# KuraPayloads (edc §2) and their signatures (edc §4.3) with protoc, openssl and coreutils: read by shell_device.sh.
# Needs $work, an existing folder, and `set -o pipefail`. Bytes are kept in upper-case hex, as a shell's variables cannot
# hold a NUL.

readonly kMaxPayload=$((2 * 1024 * 1024)) # bytes, once inflated

hex() { basenc --base16 -w0; }       # bytes → hex
unhex() { basenc --base16 -d; }      # hex → bytes
hex_of() { printf %s "$1" | hex; }   # text → hex

# The schema of edc §2, but with the fixed-width integers that a DOUBLE and a FLOAT have in common with their IEEE 754
# bits: the same on the wire, and protoc then shows the bits that are signed.
make_schema() {
  : "${work:?a folder for scratch}"
  sed 's/double double_value/sfixed64 double_value/; s/float float_value/sfixed32 float_value/' \
    "$(dirname "${BASH_SOURCE[0]}")/../../core/protocol/kura_payload.proto" >"$work/kura_payload.proto"
}
protoc_payload() { protoc --proto_path="$work" "$1=kuradatatypes.KuraPayload" kura_payload.proto; }

# --- writing: protoc's text form. Each function prints a part of a payload, encode turns them into bytes.

# The bytes on stdin as \ooo…, whatever they are.
octal() { od -An -v -to1 | sed 's/ /\\/g' | tr -d '\n'; }

string_metric() { printf 'metric { name: "%s" type: STRING string_value: "%s" }\n' "$1" "$(printf %s "$2" | octal)"; }
int32_metric() { printf 'metric { name: "%s" type: INT32 int_value: %d }\n' "$1" "$2"; }
int64_metric() { printf 'metric { name: "%s" type: INT64 long_value: %d }\n' "$1" "$2"; }
bytes_metric() { printf 'metric { name: "%s" type: BYTES bytes_value: "%s" }\n' "$1" "$(octal)"; } # bytes: stdin
body() { printf 'body: "%s"\n' "$(octal)"; }                                                       # bytes: stdin

# Parts on stdin → the payload's bytes.
encode() { { echo "timestamp: $(date +%s%3N)"; cat; } | protoc_payload --encode; }

# --- reading

declare -A type value # of each metric, by the hex of its name; values in hex, numbers big-endian
timestamp=0 body=     # body in hex

# The hex of a quoted string of protoc's text form: its escapes are those of printf's format.
quoted() {
  local text=${1#\"}
  text=${text%\"}
  # shellcheck disable=SC2059
  printf -- "${text//%/%%}" | hex
}

# value_hex FIELD TEXT: as it is signed.
value_hex() {
  case $1 in
    double | long) printf %016X "$2" ;;
    float | int) printf %08X $(($2 & 0xFFFFFFFF)) ;;
    bool) if [[ $2 == true ]]; then echo 01; else echo 00; fi ;;
    string | bytes) quoted "$2" ;;
  esac
}

# The field in which a value of that type belongs.
declare -rA kFieldOf=([DOUBLE]=double [FLOAT]=float [INT64]=long [INT32]=int [BOOL]=bool [STRING]=string [BYTES]=bytes)
# Its number.
declare -rA kTypeNumber=([DOUBLE]=0 [FLOAT]=1 [INT64]=2 [INT32]=3 [BOOL]=4 [STRING]=5 [BYTES]=6)

# decode FILE: a payload, whole or in gzip, into the variables above. False if it is malformed.
decode() {
  local magic line inside=0 name='' kind='' field='' text='' fields=0
  type=() value=() timestamp=0 body=''
  magic=$(head -c 2 "$1" | hex)
  if [[ $magic == 1F8B ]]; then
    gzip -dc <"$1" 2>"$work/log" | head -c $((kMaxPayload + 1)) >"$work/inflated" || return 1
  else
    head -c $((kMaxPayload + 1)) "$1" >"$work/inflated"
  fi
  (($(stat -c %s "$work/inflated") <= kMaxPayload)) || return 1
  protoc_payload --decode <"$work/inflated" >"$work/text" 2>"$work/log" || return 1

  # Position and unknown fields are not covered by the signature, so they are not looked at.
  while IFS= read -r line; do
    case $inside:$line in
      0:'timestamp: '*) timestamp=${line#*: } ;;
      0:'body: '*) body=$(quoted "${line#*: }") ;;
      0:'metric {') inside=1 name='' kind='' fields=0 ;;
      1:'  name: '*) name=$(quoted "${line#*: }") ;;
      1:'  type: '*) kind=${line#*: } ;;
      1:'  '[a-z]*'_value: '*) field=${line%%_value:*} field=${field#  } text=${line#*: } fields=$((fields + 1)) ;;
      1:'}')
        inside=0
        [[ -n $name && -n $kind && $fields == 1 && $field == "${kFieldOf[$kind]}" && -z ${type[$name]-} ]] || return 1
        type[$name]=$kind value[$name]=$(value_hex "$field" "$text")
        ;;
    esac
  done <"$work/text"
}

# metric TYPE NAME: its value in hex. False if there is none of that type.
metric() {
  local name
  name=$(hex_of "$2")
  [[ ${type[$name]-} == "$1" ]] && printf %s "${value[$name]}"
}
# A STRING as text, "" if there is none.
text() { { metric STRING "$1" || :; } | unhex | tr -d '\0'; }

# --- signatures

str() { printf %08X%s $((${#1} / 2)) "$1"; } # str(x) of edc §4.3, of hex

# signing_input TOPIC: of the decoded payload, in hex.
signing_input() {
  local names name
  names=$(printf '%s\n' "${!type[@]}" | grep -vx "$(hex_of signature)" | sort) # hex sorts as its bytes do
  hex_of 'KURA-SIGNED-V1'
  printf 00
  str "$(hex_of "$1")"
  printf %016X%08X "$timestamp" "$(wc -w <<<"$names")"
  for name in $names; do
    str "$name"
    printf %02X "${kTypeNumber[${type[$name]}]}"
    str "${value[$name]}"
  done
  str "$body"
}

# signed_with PUBLIC_KEY_FILE TOPIC: true if the decoded payload has a signature of that key.
signed_with() {
  metric BYTES signature | unhex >"$work/signature" || return 1
  signing_input "$2" | unhex >"$work/signed"
  case $(text signature.algorithm) in
    ES256 | RS256) openssl dgst -sha256 -verify "$1" -signature "$work/signature" "$work/signed" ;;
    ES384) openssl dgst -sha384 -verify "$1" -signature "$work/signature" "$work/signed" ;;
    EdDSA) openssl pkeyutl -verify -pubin -inkey "$1" -rawin -in "$work/signed" -sigfile "$work/signature" ;;
    *) false ;;
  esac >"$work/log" 2>&1
}
