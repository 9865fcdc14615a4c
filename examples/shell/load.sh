#!/bin/sh
# Says how busy the machine is, once a second: load.sh [COUNT]. Without a count, until it is ended.
host=$(hostname)
left=${1:--1}
while [ "$left" -ne 0 ]; do
  read -r load _ < /proc/loadavg
  printf '{"type":"load","host":"%s","load":%s}\n' "$host" "$load"
  left=$((left - 1))
  [ "$left" -eq 0 ] || sleep 1
done
