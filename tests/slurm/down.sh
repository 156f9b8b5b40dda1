#!/usr/bin/env bash
# Ends what up.sh FOLDER started; munged is left to the machine.
for pid in "$1"/slurmd.pid "$1"/slurmctld.pid; do
  [ -s "$pid" ] && kill "$(cat "$pid")"
done
