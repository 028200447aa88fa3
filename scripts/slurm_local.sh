#!/usr/bin/env bash
# A Slurm cluster on this machine, to try or test the study on:
#
#     scripts/slurm_local.sh start     # munged, slurmctld, two slurmd (one where the build allows no more)
#     export SLURM_CONF=/tmp/slurm-local/slurm.conf
#     make sweep CLUSTER=slurm
#     scripts/slurm_local.sh stop
#
# It needs Debian's or Ubuntu's packages slurm-wlm and munge, no systemd, and touches no Slurm that is installed here:
# configuration, keys, state and logs are in one folder, $SLURM_LOCAL or /tmp/slurm-local. Time limits are kept to the
# second, requeued jobs start within seconds, and each node has all cores, or 4 CPUs, so jobs share the machine.
# `scripts/slurm_local.sh start|stop slurmctld` (or slurmd) starts or kills one daemon alone.
set -euo pipefail

FOLDER=${SLURM_LOCAL:-/tmp/slurm-local}
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$FOLDER/slurm.conf
WAIT_SECONDS=30

fail() {
    echo "error: $1" >&2
    for log in munged slurmctld slurmd-node1; do
        [ -s "$FOLDER/$log.log" ] && { echo "--- the end of $FOLDER/$log.log" >&2; tail -n 5 "$FOLDER/$log.log" >&2; }
    done
    exit 1
}

alive() { # NAME: whether the process of $FOLDER/NAME.pid lives
    [ -s "$FOLDER/$1.pid" ] && is_daemon "$1" "$(cat "$FOLDER/$1.pid")"
}

is_daemon() { # NAME PROCESS: whether a living process is that daemon, no zombie and no later one of the same number
    [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$2/cmdline") == *"${1%%-*} "* ]] 2>/dev/null
}

wait_until() { # WHAT COMMAND...: until the command succeeds, at most WAIT_SECONDS
    local what=$1 end=$((SECONDS + WAIT_SECONDS))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "$what after $WAIT_SECONDS s"
        sleep 0.2
    done
}

write_configuration() { # NODES
    local host cpus memory user port
    host=$(hostname -s) cpus=$(($(nproc) < 4 ? 4 : $(nproc))) user=$(id -un)
    memory=$(awk '/MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
    port=$((20000 + $(id -u) % 1000 * 10))
    cat >"$SLURM_CONF" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$FOLDER/munge.socket,cred_expire=6
SlurmctldPort=$port
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool-%n
SlurmctldPidFile=$FOLDER/slurmctld.pid
SlurmdPidFile=$FOLDER/slurmd-%n.pid
SlurmctldLogFile=$FOLDER/slurmctld.log
SlurmdLogFile=$FOLDER/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU,CR_LLN
SchedulerParameters=batch_sched_delay=1,sched_interval=5,sched_min_interval=100000
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=60
OverTimeLimit=0
CompleteWait=0
SlurmctldTimeout=60
SlurmdTimeout=60
NodeName=node[1-$1] NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1))-$((port + $1)) CPUs=$cpus RealMemory=$memory
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

start_munged() {
    alive munged && return
    [ -s "$FOLDER/munge.key" ] || (umask 077 && head -c 128 /dev/urandom >"$FOLDER/munge.key")
    munged --force --socket="$FOLDER/munge.socket" --key-file="$FOLDER/munge.key" --pid-file="$FOLDER/munged.pid" \
        --log-file="$FOLDER/munged.log" --seed-file="$FOLDER/munge.seed" 2>>"$FOLDER/munged.log" || fail "munged does not start"
    wait_until "munged does not answer" munge --socket="$FOLDER/munge.socket" --no-input
}

start_slurmctld() {
    alive slurmctld && return
    slurmctld -f "$SLURM_CONF" 2>>"$FOLDER/slurmctld.log" || fail "slurmctld does not start"
    wait_until "slurmctld does not answer" ping_succeeds
}

ping_succeeds() {
    [[ $(scontrol ping) == *"is UP"* ]]
}

nodes() {
    sed -n 's/^NodeName=node\[1-\([0-9]*\)\].*/\1/p' "$SLURM_CONF" | xargs seq 1
}

start_slurmd() {
    local node
    for node in $(nodes); do
        alive "slurmd-node$node" || slurmd -f "$SLURM_CONF" -N "node$node" 2>>"$FOLDER/slurmd-node$node.log" ||
            fail "slurmd does not start"
    done
    wait_until "the nodes do not come up" nodes_are_up
}

nodes_are_up() {
    local states
    states=$(sinfo --noheader --format=%T)
    [[ $states =~ idle|mixed|allocated|completing && ! $states =~ down|unk|drain|\* ]]
}

# Kill the process of $FOLDER/NAME.pid and wait until it is gone.
kill_daemon() { # NAME [SIGNAL]
    alive "$1" || return 0
    local process
    process=$(cat "$FOLDER/$1.pid")
    kill "-${2:-TERM}" "$process"
    wait_until "$1 does not end" gone "$1" "$process"
    rm -f "$FOLDER/$1.pid"
}

gone() {
    ! is_daemon "$@"
}

start() {
    local missing=()
    for program in munged munge slurmctld slurmd sbatch; do
        command -v $program >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} = 0 ] || fail "no ${missing[*]} here: apt-get install slurm-wlm munge"
    mkdir -p -m 0755 "$FOLDER" "$FOLDER/state"
    [ -O "$FOLDER" ] || fail "$FOLDER is somebody else's: set SLURM_LOCAL to a folder of your own"
    start_munged
    alive slurmctld || write_configuration 2
    start_slurmctld
    if ! [[ $(scontrol show config) =~ MULTIPLE_SLURMD\ *=\ Yes ]]; then
        kill_daemon slurmctld
        write_configuration 1
        start_slurmctld
    fi
    start_slurmd
    echo "Slurm runs, with $(nodes | wc -l) nodes and logs in $FOLDER: export SLURM_CONF=$SLURM_CONF"
}

stop() {
    [ -d "$FOLDER" ] || { echo "nothing runs in $FOLDER"; return; }
    if alive slurmctld; then
        scancel --user="$(id -un)" 2>/dev/null || true
        for _ in $(seq 60); do [ -z "$(squeue --noheader 2>/dev/null)" ] && break || sleep 0.2; done
    fi
    for daemon in slurmctld $(nodes | sed 's/^/slurmd-node/') munged; do
        kill_daemon "$daemon"
    done
    rm -rf "$FOLDER"/{state,spool-*}
    echo "stopped; logs are in $FOLDER"
}

case "${1:-} ${2:-}" in
    "start ") start ;;
    "stop ") stop ;;
    "start slurmctld") start_slurmctld ;;
    "start slurmd") start_slurmd ;;
    "stop slurmctld") kill_daemon slurmctld KILL ;;
    "stop slurmd") for node in $(nodes); do kill_daemon "slurmd-node$node" KILL; done ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
