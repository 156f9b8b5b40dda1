#!/usr/bin/env bash
# Ends the jobs and daemons of up.sh FOLDER, whatever state they are in.
export SLURM_CONF=$1/slurm.conf
scancel --full --signal=KILL --user="$(id -un)" 2>/dev/null
scancel --user="$(id -un)" 2>/dev/null
for _ in {1..40}; do [ -z "$(squeue --noheader 2>/dev/null)" ] && break; sleep 0.5; done
for name in slurmd slurmctld munged; do
  [ -s "$1/$name.pid" ] || continue
  pid=$(cat "$1/$name.pid")
  kill "$pid" 2>/dev/null
  for _ in {1..20}; do [ -e "$1/$name.pid" ] || break; sleep 0.25; done
  [ -e "$1/$name.pid" ] && kill -KILL "$pid" 2>/dev/null
done
exit 0
