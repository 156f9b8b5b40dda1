#!/usr/bin/env bash
# One Slurm node of two CPUs on this machine, as root and without systemd, for tests of hydra/launcher=slurm alone.
# Jobs of the partition `urgent` pre-empt others. Its own munged and free ports: what runs or was left here already does not matter.
# usage: up.sh FOLDER    keeps keys, sockets, state, logs and slurm.conf there
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
host=$(hostname -s)
mkdir -p "$folder"/{state,spool,log}
read -r port other_port < <(python3 -c '
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in held))')
cat > "$folder/slurm.conf" <<C
ClusterName=blippose
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$other_port
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=$(($(free -m | awk '/Mem/{print $2}') * 8 / 10)) State=UNKNOWN
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=600
PartitionName=urgent Nodes=$host MaxTime=INFINITE State=UP PriorityTier=2
C
export SLURM_CONF=$folder/slurm.conf

within_a_minute() {  # until the command says yes
  for _ in {1..120}; do "$@" >/dev/null 2>&1 && return; sleep 0.5; done
  echo "Slurm did not start: never came true: $*" >&2
  tail -n 20 "$folder"/log/*.log >&2
  exit 1
}

head -c 1024 /dev/urandom > "$folder/munge.key"
chmod 600 "$folder/munge.key"
munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
  --pid-file="$folder/munged.pid" --seed-file="$folder/munge.seed" --log-file="$folder/log/munged.log"
within_a_minute eval "munge --socket=$folder/munge.socket -n | unmunge --socket=$folder/munge.socket"
slurmctld -f "$SLURM_CONF"
within_a_minute scontrol ping
slurmd -f "$SLURM_CONF" -N "$host"
within_a_minute eval 'sinfo --noheader --states=idle | grep .'
