# Functions of tests/run: suites that run side by side, and the sum of what they count. Sourced; the caller may set these variables.
# shellcheck shell=bash
logs=$PWD/target/tests            # a suite's output: SUITE.log
at_once=$(($(nproc) + 1))         # suites mostly wait
limit=20m                         # of one suite: a hang is a failure

declare -A running=() began=()    # by process: the suite's name, and when it began
passed=0 failed=0 skipped=0 table=() faults=() skips=()

# Suites restart daemons on the ports that they had. In a network of its own, no other suite can take such a port meanwhile. Chromium
# counts as offline without an interface beside the loopback one, so there is a pair of them.
network='ip link set lo up && ip link add name left type veth peer name right && ip addr add 198.18.0.1/24 dev left \
  && ip link set left up && ip link set right up && exec "$@"'
alone=(unshare --net sh -c "$network" sh)
"${alone[@]}" true 2>/dev/null || alone=()

# Ends what still runs: `timeout` passes the signal on to everything that the suite started.
trap '[ "${#running[@]}" = 0 ] || kill "${!running[@]}" 2>/dev/null' EXIT
trap 'exit 130' INT TERM

# Starts a suite in a network of its own, where the system allows one: its name, and its command.
suite() { online "$1" "${alone[@]}" "${@:2}"; }

# Starts a suite in the machine's network, as soon as fewer than `at_once` run.
online() {
  local name=$1
  shift
  while [ "${#running[@]}" -ge "$at_once" ]; do finish; done
  timeout --kill-after=10 "$limit" "$@" >"$logs/$name.log" 2>&1 </dev/null &
  running[$!]=$name began[$!]=$SECONDS
  echo "-- $name begins"
}

# Waits for the next suite to end, prints its output and adds up what its closing lines count. One without such lines is one test.
finish() {
  local pid ended="" status=0 name log seconds ok bad found line
  # Not `wait -n`, which knows nothing of a process that ended before.
  while [ -z "$ended" ]; do
    for pid in "${!running[@]}"; do kill -0 "$pid" 2>/dev/null || ended=$pid; done
    [ -n "$ended" ] || sleep 0.1
  done
  pid=$ended
  wait "$pid" || status=$?
  name=${running[$pid]} seconds=$((SECONDS - began[$pid]))
  unset "running[$pid]"
  log=$logs/$name.log
  ok=$(awk '/^test result:/ {n += $4} /^# pass / {n += $3} END {print n + 0}' "$log")
  bad=$(awk '/^test result:/ {n += $6} /^# (fail|cancelled) / {n += $3} END {print n + 0}' "$log")
  if [ "$status" = 0 ] && ! grep -qE '^test result:|^# pass |: skipped: ' "$log"; then ok=1; fi
  mapfile -t found < <(sed -nE '/# (SKIP|TODO)/d; s/^test (.*) \.\.\. FAILED$/\1/p; s/^ *not ok ([0-9]+ )?(- )?//p' "$log")
  if [ "$status" = 124 ]; then
    found+=("no end within $limit, see $log")
  elif [ "$status" != 0 ] && [ "${#found[@]}" = 0 ]; then
    found+=("exit status $status, see $log")
  fi
  [ "$status" = 0 ] || [ "$bad" -gt 0 ] || bad=1
  for line in "${found[@]}"; do faults+=("failed: $line ($name)"); done
  mapfile -t found < <(sed -nE 's/^(test .* \.\.\. )?(.*): skipped: /\2: /p; s/^ *ok ([0-9]+ )?(- )?(.*# SKIP)/\3/p; s/^test (.*) \.\.\. ignored/\1/p' "$log")
  for line in "${found[@]}"; do skips+=("skipped: $line ($name)"); done
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + ${#found[@]}))
  table+=("$(printf '%5d s %5d passed %3d failed   %s' "$seconds" "$ok" "$bad" "$name")")
  echo "== $name: $ok passed, $bad failed, $seconds s"
  cat "$log"
}

# Waits for all that run.
finish_all() { while [ "${#running[@]}" -gt 0 ]; do finish; done; }

# Prints each suite's time, what was skipped, what failed, and the counts as the very last line. Fails as the tests do.
report() {
  local line
  echo
  for line in "${table[@]}" "${skips[@]}" "${faults[@]}"; do echo "$line"; done
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}
