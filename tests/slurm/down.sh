#!/usr/bin/env bash
# Ends the jobs and daemons of up.sh FOLDER.
export SLURM_CONF=$1/slurm.conf
scancel --full --signal=KILL --user="$(id -un)"
scancel --user="$(id -un)"
for name in slurmd slurmctld munged; do
  [ -s "$1/$name.pid" ] && kill "$(cat "$1/$name.pid")"
done
exit 0
