#!/usr/bin/env bash
# Slurm and munge on Debian or Ubuntu, for `make test-slurm`. Ends with 77 where that cannot be.
set -euo pipefail
command -v slurmctld >/dev/null && command -v munged >/dev/null && exit 0
[ "$(id -u)" = 0 ] || { echo "test-slurm skipped: needs root to install and start Slurm" >&2; exit 77; }
command -v apt-get >/dev/null || { echo "test-slurm skipped: no apt here to install Slurm" >&2; exit 77; }
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -q && apt-get install -y -q --no-install-recommends slurm-wlm munge; } >&2 </dev/null ||
  { echo "test-slurm skipped: apt cannot install slurm-wlm and munge" >&2; exit 77; }
