#!/usr/bin/env bash
# A device that is provisioned by command line tools alone: mosquitto_pub, mosquitto_sub, protoc, openssl, curl and what
# every Debian has. It shows what the protocol asks of a device, and that anybody can write one; "edc §" cites the
# protocol's specification. Ends with exit code 0 once the owner's broker has taken its BIRTH.
#
#   shell_device.sh --broker HOST:PORT --client-id ID --username NAME --password-file FILE [--activation-key-file FILE]
#                   --broker-ca-file PEM --platform-root-file PEM --state-dir FOLDER
#                   [--account NAME] [--timeout SECONDS] [--csr prov|object|string] [--mqtt 3.1.1|5]
#
# --csr says how the certificate signing request gets to the platform (edc §4.4): within PROV, or in the reply to
# KEYS-V1, as a JSON object or as the bare JSON string of stock Kura.
set -euo pipefail
export LC_ALL=C
umask 077 # keys and passwords are born 0600
# shellcheck source=shell_payload.sh
. "$(dirname "${BASH_SOURCE[0]}")/shell_payload.sh"

readonly EX_USAGE=64 EX_TEMPFAIL=75 EX_NOPERM=77
readonly kRepeatAfter=5 # s, of the reply to CONF-V1 (edc §4, End)
# names of edc §4.4 and §4.6
readonly kKeystore=org.eclipse.kura.core.keystore.SSLKeystore kAlias=ssl-owner
readonly kTransport=org.eclipse.kura.core.data.transport.mqtt.MqttDataTransport

say() { echo "$*"; }
die() { echo "error: ${*:2}" >&2; exit "$1"; }

# --- settings

readonly kOptions="--broker --client-id --username --password-file --activation-key-file --broker-ca-file \
--platform-root-file --state-dir --account --timeout --csr --mqtt"
declare -A option=([account]=provision [timeout]=60 [csr]=prov [mqtt]=3.1.1)

read_options() {
  while (($# > 0)); do
    [[ " $kOptions " == *" $1 "* && $# -ge 2 ]] ||
      die "$EX_USAGE" "$1: not an option, or without its value: the head of ${BASH_SOURCE[0]##*/} names them"
    option[${1#--}]=$2
    shift 2
  done
  local name
  for name in broker client-id username password-file broker-ca-file platform-root-file state-dir; do
    [[ -n ${option[$name]-} ]] || die "$EX_USAGE" "--$name is missing"
  done
  [[ ${option[csr]} =~ ^(prov|object|string)$ ]] || die "$EX_USAGE" "--csr: ${option[csr]}: not prov, object or string"
  [[ ${option[mqtt]} =~ ^(3\.1\.1|5)$ ]] || die "$EX_USAGE" "--mqtt: ${option[mqtt]}: not 3.1.1 or 5"
  account=${option[account]} client_id=${option[client-id]} state=${option[state-dir]}
}

# What lies in the state folder:
#   key.pem                                      the device's key, which never leaves it
#   ssl-owner.pem, ssl-owner-ca-N.pem            its certificate, the CAs of the owner's broker
#   configurations.xml, packages/                what was installed
#   attempt/                                     of this attempt: signer.pub, and replies/ by request id
#   provision/, owner/                           the options of mosquitto_pub and mosquitto_sub for the two brokers
#   work/                                        scratch
prepare() {
  work=$state/work
  rm -rf "$state/attempt" "$work" "$state/$kAlias"*.pem "$state/configurations.xml" # nothing of an earlier attempt counts
  mkdir -p "$state"/{attempt/replies,packages,provision,owner,work}
  make_schema
  [[ -s $state/key.pem ]] || openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$state/key.pem"
}

# --- MQTT (edc §1, §3: QoS 1, nothing retained)
#
# Each tool is a connection of its own, and both must come as this client id, so they take turns: the second would push
# out the first. Therefore the session is kept between them (-c), and the broker keeps what comes in between. What comes
# just while mosquitto_pub is there is lost, and is sent again: requests without a reply after 10 s (edc §4, Time), the
# final answer when we repeat our reply to CONF-V1. A device with one connection for all has a clean session (edc §1).

# tool_options FOLDER OPTION…: what the tools say at each CONNECT; in files, as a command line can be read by everybody.
tool_options() {
  local version=mqttv311
  [[ ${option[mqtt]} == 5 ]] && version=mqttv5
  printf '%s\n' "-V $version" "${@:2}" | tee "$state/$1/mosquitto_pub" >"$state/$1/mosquitto_sub"
}
use_broker() { export XDG_CONFIG_HOME=$state/$1; }

# publish TOPIC [OPTION…]: the payload on stdin; returns once the broker has acknowledged it.
publish() { mosquitto_pub -c -q 1 -s -t "$1" "${@:2}"; }
# subscribe ACCOUNT: to our own tree; returns once the broker has granted it.
subscribe() { mosquitto_sub -c -q 1 -E -t "\$EDC/$1/$client_id/#"; }
# listen ACCOUNT SECONDS: "TOPIC HEX" of each message that is there or comes within that time.
listen() {
  mosquitto_sub -c -q 1 -W "$2" -F '%t %X' -t "\$EDC/$1/$client_id/#" 2>"$work/log" && return
  [[ $? == 27 ]] || die "$EX_TEMPFAIL" "the broker: $(<"$work/log")" # 27: the time is over
}
# leave ACCOUNT: with a goodbye, and without leaving the session behind.
leave() { encode </dev/null | mosquitto_pub -q 0 -s -t "\$EDC/$1/$client_id/MQTT/DC"; }

# --- PROV (edc §4.1)

new_attempt() {
  nonce=$(openssl rand -hex 16 | tr a-f A-F)
  hello_id=$(openssl rand -hex 8)
  heard=no    # whether the platform has said anything to PROV
  refused=no  # whether we refused a request: then we refuse the rest (edc §4, Order)
  conf_rid=   # the request id of CONF-V1, once we have done what it asks
  recorded=no # whether the platform has recorded that
}

make_csr() { openssl req -new -key "$state/key.pem" -subj "/CN=$client_id" -outform "$1"; }

# What edc §5 tells about the device, all STRING; PROV may carry it too.
facts() {
  string_metric serial_number "shell-$client_id"
  string_metric model_name "shell device"
  string_metric firmware_version "$BASH_VERSION"
  string_metric os "$(uname -s)"
  string_metric os_version "$(uname -r)"
  string_metric os_arch "$(uname -m)"
}

# BIRTH (edc §5): the facts, and what else the owner's applications want to know.
birth_metrics() {
  facts
  string_metric uptime "$(($(cut -d. -f1 /proc/uptime) * 1000))"
  string_metric display_name "$client_id"
  string_metric model_id shell
  string_metric part_number shell
  string_metric bios_version none
  string_metric available_processors "$(nproc)"
  string_metric total_memory "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)"
  string_metric connection_interface unknown
  string_metric connection_ip unknown
  string_metric accept_encoding gzip
  string_metric application_ids "CERT-V1,KEYS-V1,KEYS-V2,DEPLOY-V1,DEPLOY-V2,CONF-V1"
  string_metric payload_encoding kura-protobuf
}

say_hello() {
  {
    string_metric username "${option[username]}"
    string_metric password "$(<"${option[password-file]}")"
    [[ -z ${option[activation-key-file]-} ]] || string_metric activationKey "$(<"${option[activation-key-file]}")"
    string_metric provisioningCertificateVersion PROV-V1
    string_metric request.id "$hello_id"
    string_metric requester.client.id "$client_id"
    unhex <<<"$nonce" | bytes_metric prov.nonce
    [[ ${option[csr]} != prov ]] || make_csr DER | bytes_metric prov.csr
    string_metric prov.reason first-boot
    facts
  } | encode | publish "\$EDC/$account/$client_id/MQTT/PROV"
}

# PROV-V1 REPLY (edc §4.1). Before CERT-V1 nobody has signed it: it is a hint, good enough to end this attempt and no more.
on_answer() {
  local code
  code=$((16#$(metric INT32 response.code || echo 0)))
  case $code in
    429 | 503) die "$EX_TEMPFAIL" "the platform wants another try later: $code: $(text response.exception.message)" ;;
    202) say "202: the platform has accepted PROV" ;;
    200) [[ -z $conf_rid ]] || recorded=yes ;;
    *) die "$EX_NOPERM" "the platform refused PROV: $code: $(text response.exception.message)" ;;
  esac
}

# --- who asks (edc §4.2, §4.3)

drop() { say "dropped a message on $1: ${*:2}"; }

on_message() { # TOPIC HEX
  local topic=$1 tree="\$EDC/$account/$client_id/"
  unhex <<<"$2" >"$work/payload" || return 0
  local path=${topic#"$tree"}
  [[ $path != "$topic" && $path != MQTT/* && $path != BA/* ]] || return 0 # edc §3
  decode "$work/payload" || { drop "$topic" "malformed"; return; }
  [[ $(metric BYTES prov.nonce || :) == "$nonce" ]] || { drop "$topic" "its prov.nonce is not ours"; return; }

  heard=yes
  rid=$(text request.id)
  local requester
  requester=$(text requester.client.id)
  reply_to="\$EDC/$account/$requester/${path%%/*}"
  if [[ -e $state/attempt/signer.pub ]] && ! signed_with "$state/attempt/signer.pub" "$topic"; then
    if [[ $path == CERT-V1/PUT/certificates ]] && carries_signer && signed_with "$work/signer.pub" "$topic"; then
      refuse 400 "another signing certificate than the one of this attempt"
    else
      drop "$topic" "its signature does not verify"
    fi
  elif [[ $path == "PROV-V1/REPLY/$hello_id" ]]; then
    on_answer
  elif [[ ! $path =~ ^([A-Z0-9-]+)/(GET|PUT|POST|DEL|EXEC)/ ]]; then
    drop "$topic" "neither a request nor an answer to PROV"
  elif [[ ! $rid =~ ^[A-Za-z0-9_.:-]{1,64}$ || ! $requester =~ ^[A-Za-z0-9_-]{1,64}$ ]]; then
    drop "$topic" "no request.id or requester.client.id"
  else
    on_request "$topic" "$path"
  fi
}

public_key_of() { openssl x509 -in "$1" -noout -pubkey; }
subject_of() { openssl x509 -in "$1" -noout -subject; }
extension() { openssl x509 -in "$1" -noout -ext "$2" 2>/dev/null | sed -n '2s/^ *//p'; }

# split_pem PREFIX: the certificates on stdin to PREFIX-1.pem, PREFIX-2.pem, …
split_pem() {
  rm -f "$1"-[0-9]*.pem
  awk -v prefix="$1" '
    /^-----BEGIN CERTIFICATE-----/ { out = prefix "-" ++n ".pem" }
    out { print >out }
    out && /^-----END/ { close(out); out = "" }'
}

# Does the body hold the PEM chain of a leaf that may sign commands and comes from the platform's root (edc §4.2)? The
# leaf's public key is then in work/signer.pub.
carries_signer() {
  local leaf=$work/signing-1.pem issuer usage
  unhex <<<"$body" | split_pem "$work/signing"
  [[ -s $leaf ]] || return 1
  [[ $(extension "$leaf" basicConstraints) != *CA:TRUE* ]] || return 1
  [[ $(extension "$leaf" keyUsage) == *"Digital Signature"* ]] || return 1
  [[ $(extension "$leaf" extendedKeyUsage) == "Code Signing" ]] || return 1
  : >"$work/issuers.pem"
  for issuer in "$work"/signing-[!1]*.pem; do
    [[ -e $issuer ]] || continue
    # a CA that is for clients issues device certificates: else any device could sign commands
    usage=$(extension "$issuer" extendedKeyUsage)
    [[ -z $usage || $usage == *"Code Signing"* ]] || return 1
    cat "$issuer" >>"$work/issuers.pem"
  done
  openssl verify -no-CApath -no-CAstore -CAfile "${option[platform-root-file]}" -untrusted "$work/issuers.pem" "$leaf" \
    >"$work/log" 2>&1 || return 1
  public_key_of "$leaf" >"$work/signer.pub"
}

# CERT-V1 PUT certificates (edc §4.2): the first request of an attempt, signed by the leaf that it carries.
on_certificates() {
  [[ ! -e $state/attempt/signer.pub ]] || { accept "CERT-V1: the same signing certificate again"; return; }
  [[ $(text certificate.usage) == COMMAND_SIGNING ]] || { refuse 400 "certificate.usage is not COMMAND_SIGNING"; return; }
  carries_signer || { refuse 400 "the signing certificate does not come from the platform's root"; return; }
  signed_with "$work/signer.pub" "$1" || { drop "$1" "its signature does not verify"; return; }
  mv "$work/signer.pub" "$state/attempt/signer.pub"
  accept "CERT-V1: commands are signed by $(subject_of "$work/signing-1.pem")"
}

# --- replies (edc §3)

# send TOPIC: publishes the payload on stdin and keeps it under the request id, so that a repeated request is answered in
# the same words (edc §4, Duplicates).
send() {
  local folder=$state/attempt/replies/of-$rid
  mkdir -p "$folder"
  local number
  number=$(find "$folder" -name '*.topic' | wc -l)
  encode >"$folder/$number.payload"
  printf %s "$1" >"$folder/$number.topic"
  publish "$1" <"$folder/$number.payload"
}
repeat() { # RID
  local topic
  for topic in "$state/attempt/replies/of-$1"/*.topic; do
    publish "$(<"$topic")" <"${topic%.topic}.payload"
  done
}

# accept WHAT [PARTS]: REPLY 200, with these parts of a payload.
accept() {
  say "$1"
  { int32_metric response.code 200; printf %s "${2-}"; } | send "$reply_to/REPLY/$rid"
}
refuse() { # CODE WHY
  say "refused ${reply_to##*/}: $1: $2"
  refused=yes
  { int32_metric response.code "$1"; string_metric response.exception.message "$2"; } | send "$reply_to/REPLY/$rid"
}

on_request() { # TOPIC PATH
  if [[ -e $state/attempt/replies/of-$rid ]]; then
    repeat "$rid"
  elif [[ $refused == yes ]]; then
    refuse 400 "an earlier request of this attempt was refused"
  elif [[ $2 == CERT-V1/PUT/certificates ]]; then
    on_certificates "$1"
  elif [[ ! -e $state/attempt/signer.pub ]]; then
    drop "$1" "it came before CERT-V1"
  else
    case $2 in
      KEYS-V1/POST/keystores/entries/csr) on_csr_wish ;;
      KEYS-V2/POST/keystores/entries/privatekey) on_device_certificate ;;
      KEYS-V1/POST/keystores/entries/certificate) on_trusted_certificate ;;
      DEPLOY-V2/EXEC/download) on_download ;;
      DEPLOY-V2/EXEC/install) on_install ;;
      DEPLOY-V1/EXEC/install) on_inline_package ;;
      CONF-V1/PUT/configurations) on_configurations ;;
      *) refuse 404 "this device has no $2" ;;
    esac
  fi
}

# --- KEYS (edc §4.4)

# The string of a key in the JSON object that is the body. Enough for what KEYS brings: no escapes but those of PEM.
json_string() { unhex <<<"$body" | tr '\n' ' ' | sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p"; }
# The certificates in it, as PEM.
json_certificates() {
  unhex <<<"$body" | grep -o -e '-----BEGIN CERTIFICATE-----[^"]*-----END CERTIFICATE-----' | sed 's/\\r//g; s/\\n/\n/g; s#\\/#/#g'
}

names_our_key() { [[ $(json_string keystoreServicePid) == "$kKeystore" && $(json_string alias) == "$kAlias" ]]; }

on_csr_wish() {
  names_our_key || { refuse 404 "this device has only the key $kAlias in $kKeystore"; return; }
  local pem
  pem=$(make_csr PEM | awk '{ printf "%s\\n", $0 }')
  if [[ ${option[csr]} == string ]]; then
    accept "KEYS-V1: sent the signing request as a string" "$(printf '"%s"' "$pem" | body)"
  else
    accept "KEYS-V1: sent the signing request" "$(printf '{"signingRequest":"%s"}' "$pem" | body)"
  fi
}

on_device_certificate() {
  [[ $(unhex <<<"$body") != *'"privateKey"'* ]] || { refuse 400 "a private key never travels"; return; }
  names_our_key || { refuse 404 "this device has only the key $kAlias in $kKeystore"; return; }
  json_certificates >"$work/chain.pem" || { refuse 400 "no certificate"; return; }
  [[ $(public_key_of "$work/chain.pem") == "$(openssl pkey -in "$state/key.pem" -pubout)" ]] ||
    { refuse 400 "the certificate is not for this device's key"; return; }
  mv "$work/chain.pem" "$state/$kAlias.pem"
  accept "KEYS-V2: this device is $(subject_of "$state/$kAlias.pem")"
}

on_trusted_certificate() {
  local alias
  alias=$(json_string alias)
  [[ $(json_string keystoreServicePid) == "$kKeystore" && $alias =~ ^$kAlias-ca-[0-9]{1,2}$ ]] ||
    { refuse 400 "not $kAlias-ca-1, … in $kKeystore"; return; }
  if ! json_certificates >"$work/ca.pem" || ! public_key_of "$work/ca.pem" >"$work/log" 2>&1; then
    refuse 400 "no certificate"
    return
  fi
  mv "$work/ca.pem" "$state/$alias.pem"
  accept "KEYS-V1: the owner's broker comes from $(subject_of "$state/$alias.pem")"
}

# --- DEPLOY (edc §4.5). To install is a device's own affair: this one keeps the files.

is_name() { [[ $1 =~ ^[A-Za-z0-9_+~-][A-Za-z0-9._+~-]{0,127}$ ]]; } # a file's, so it cannot leave its folder

# notify STAGE PROGRESS STATUS [ERROR]: DEPLOY-V2 NOTIFY of the job of the request at hand; STAGE is download or install.
notify() {
  {
    int64_metric job.id "$job"
    int32_metric "dp.$1.progress" "$2"
    string_metric "dp.$1.status" "$3"
    [[ -z ${4-} ]] || string_metric "dp.$1.error.message" "$4"
  } | send "$reply_to/NOTIFY/$client_id/$1"
}

# The job and the package that a DEPLOY-V2 request names.
read_job() {
  job=$(metric INT64 job.id) || return 1
  job=$((16#$job)) name=$(text dp.name) version=$(text dp.version)
  is_name "$name" && is_name "$version"
}

# fetch URI SHA256 FILE: http and https only, on redirects too; the file is there only if it has that hash.
fetch() {
  curl --silent --show-error --fail --location --proto '=http,https' --proto-redir '=http,https' --max-time 60 \
    --cacert "${option[broker-ca-file]}" --capath /etc/ssl/certs --output "$3.part" -- "$1" 2>"$work/log" || return 1
  echo "${2,,}  $3.part" | sha256sum --check --quiet 2>"$work/log" >&2 && mv "$3.part" "$3"
}

on_download() {
  local uri hash job name version
  uri=$(text dp.uri) hash=$(text dp.download.hash)
  read_job || { refuse 400 "job.id, dp.name or dp.version"; return; }
  [[ $uri =~ ^https?:// ]] || { refuse 400 "dp.uri: neither http nor https"; return; }
  [[ $hash =~ ^SHA-256:[0-9A-Fa-f]{64}$ ]] || { refuse 400 "dp.download.hash: not SHA-256:hex"; return; }
  accept "DEPLOY-V2: download of $name $version"
  mkdir -p "$state/packages/$name"
  notify download 0 IN_PROGRESS
  if ! fetch "$uri" "${hash#SHA-256:}" "$state/packages/$name/$version"; then
    say "DEPLOY-V2: $name $version: $(head -n 1 "$work/log")"
    notify download 0 FAILED "$(head -n 1 "$work/log")"
    return
  fi
  notify download 100 COMPLETED
  [[ $(metric BOOL dp.install || :) == 00 ]] || install_package
}

# EXEC install: of a package that was downloaded with dp.install=false.
on_install() {
  local job name version
  read_job || { refuse 400 "job.id, dp.name or dp.version"; return; }
  [[ -f $state/packages/$name/$version ]] || { refuse 404 "$name $version was not downloaded"; return; }
  accept "DEPLOY-V2: installation of $name $version"
  install_package
}

install_package() {
  say "DEPLOY-V2: $name $version is installed"
  notify install 100 COMPLETED
}

# DEPLOY-V1 EXEC install: the package is the body, NAME_VERSION.tar.gz its file name; one reply, when all is done.
on_inline_package() {
  local file name version
  file=$(text deploy.filename)
  name=${file%_*} version=${file##*_}
  version=${version%.tar.gz}
  if [[ $file != *_* ]] || ! is_name "$name" || ! is_name "$version"; then
    refuse 400 "deploy.filename: not NAME_VERSION.tar.gz"
    return
  fi
  mkdir -p "$state/packages/$name"
  unhex <<<"$body" >"$state/packages/$name/$version"
  accept "DEPLOY-V1: $name $version is installed" \
    "$(string_metric deploy.pkg.name "$name"; string_metric deploy.pkg.version "$version")"
}

# --- CONF-V1 (edc §4.6)

# property NAME: its value in the component of the owner's connection, "" if it has none. A sketch of an XML reader: tag by
# tag, attributes in double quotes, any prefix.
property() {
  tr '\n' ' ' <"$state/configurations.xml" | sed 's/</\n</g' | awk -v pid="$kTransport" -v name="$1" '
      /^<([A-Za-z]+:)?configuration / { inside = index($0, " pid=\"" pid "\"") }
      /^<([A-Za-z]+:)?property / { wanted = inside && index($0, " name=\"" name "\"") }
      wanted && /^<([A-Za-z]+:)?value>/ { sub(/^[^>]*>/, ""); print; exit }' |
    sed 's/&lt;/</g; s/&gt;/>/g; s/&quot;/"/g; s/&apos;/'\''/g; s/&amp;/\&/g'
}

# It comes last; our reply is repeated until the platform has recorded it (edc §4, End).
on_configurations() {
  unhex <<<"$body" >"$state/configurations.xml"
  [[ -n $(property broker-url) && -n $(property topic.context.account-name) ]] ||
    { refuse 400 "no connection to an owner's broker"; return; }
  conf_rid=$rid
  accept "CONF-V1: the owner's broker is $(property broker-url)"
}

# --- the conversation (edc §4)

provision() {
  local broker=${option[broker]}
  tool_options provision "-h ${broker%:*}" "-p ${broker##*:}" "-i $client_id" "--cafile ${option[broker-ca-file]}" \
    "-u ${option[username]}" "-P $(<"${option[password-file]}")"
  use_broker provision
  new_attempt
  subscribe "$account" || die "$EX_NOPERM" "the provision broker does not admit this device"
  say_hello

  local end=$((SECONDS + option[timeout])) repeat_at=$((SECONDS + kRepeatAfter)) topic payload
  while [[ $recorded == no ]]; do
    ((SECONDS < end)) || die "$EX_TEMPFAIL" "not provisioned within ${option[timeout]} s"
    listen "$account" 1 >"$work/inbox"
    while read -r topic payload <&3; do on_message "$topic" "$payload"; done 3<"$work/inbox"
    if ((SECONDS >= repeat_at)); then
      repeat_at=$((SECONDS + kRepeatAfter))
      if [[ $heard == no ]]; then
        say_hello # the same nonce: nothing starts over (edc §4, Duplicates)
      elif [[ -n $conf_rid && $recorded == no ]]; then
        repeat "$conf_rid"
      fi
    fi
  done
  say "200: the platform has recorded that this device is provisioned"
  leave "$account"
}

# With the certificate that was issued, or the password of the configuration, to the owner's broker (edc §4.6, §5).
be_born() {
  local url account birth host port
  url=$(property broker-url) account=$(property topic.context.account-name)
  [[ $url =~ ^mqtts://([^:/]+|\[[^]]+\])(:([0-9]+))?/?$ ]] || die "$EX_NOPERM" "$url: not mqtts://HOST[:PORT]"
  host=${BASH_REMATCH[1]//[\[\]]/} port=${BASH_REMATCH[3]:-8883}
  cat "$state/$kAlias"-ca-*.pem >"$state/owner/cas.pem" || die "$EX_NOPERM" "the platform sent no CA of the owner's broker"
  local options=("-h $host" "-p $port" "-i $client_id" "--cafile $state/owner/cas.pem")
  if [[ -n $(property username) ]]; then
    options+=("-u $(property username)" "-P $(property password)")
  else
    options+=("--cert $state/$kAlias.pem" "--key $state/key.pem")
  fi
  tool_options owner "${options[@]}"
  use_broker owner

  # MQTT 3.1.1 acknowledges a publish that was denied; MQTT 5 tells: 0 taken, 16 taken but nobody listens
  birth="\$EDC/$account/$client_id/MQTT/BIRTH"
  birth_metrics | encode | publish "$birth" -V mqttv5 -d >"$work/log" 2>&1 || die "$EX_NOPERM" "the owner's broker: $(<"$work/log")"
  grep -qE 'received PUBACK .*RC:(0|16)\)' "$work/log" || die "$EX_NOPERM" "the owner's broker did not take BIRTH: $(<"$work/log")"
  subscribe "$account" || die "$EX_NOPERM" "the owner's broker does not let this device subscribe"
  say "BIRTH: the owner's broker has taken it"
  leave "$account"
}

main() {
  read_options "$@"
  prepare
  provision
  be_born
}

# Read by another script, it only lends its functions.
[[ ${BASH_SOURCE[0]} != "$0" ]] || main "$@"
