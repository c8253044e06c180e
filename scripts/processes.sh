# For scripts that run real processes in a temporary folder: sourced once `dir` is made. It and all that `pids` names go when
# the script ends, however it ends.
pids=()
clean_up() {
  trap - EXIT
  # the last ones first, so that nothing reconnects to brokers that go away
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill "${pids[i]}" 2>/dev/null || :; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || :; done
  rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

give_up() { # WHAT: ends the script, with the last lines of all logs
  echo "error: $1" >&2
  for log in "$dir"/*.log; do
    [[ -s $log ]] && { echo "--- last lines of ${log##*/}" >&2; tail -n 8 "$log" >&2; }
  done
  exit 1
}

wait_for() { # SECONDS COMMAND…
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

# COUNT TCP ports of the loopback that were free a moment ago, as the array `ports`. Below the range that the kernel gives out
# to connections.
find_ports() {
  local port
  ports=()
  while ((${#ports[@]} < $1)); do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
    [[ " ${ports[*]} " == *" $port "* ]] || ports+=("$port")
  done
}
