#!/usr/bin/env bash
# A job under torchrun, on every one of its machines the same line:
#
#   NODES=2 RANKS=8 HOST=node0:29400 VERNIER_INTERFACE=eth0 \
#     configs/cluster/torchrun.sh CONFIG.toml RUN_FOLDER [options of `vernier train`]
#
# NODES machines with RANKS ranks each meet at HOST, a port of one of them. A rank that dies makes all
# of them start again from the last checkpoint, up to three times (RESTARTS). On one machine NODES,
# HOST and VERNIER_INTERFACE are left out. Where a machine's name is not known to the others, ADDRESS
# is its address.
#
# torchrun ends with code 1 whatever its ranks end with: RUN_FOLDER/REQUEUE says that they were saved
# on a signal. SIGUSR1 kills torchrun itself unless it is named below, and it waits 30 s for the ranks.
set -euo pipefail
config=$1 run=$2
shift 2
ranks=${RANKS:-2}
meeting=(--standalone)
[ -z "${HOST:-}" ] ||
  meeting=(--nnodes "${NODES:?how many machines?}" --rdzv-backend c10d --rdzv-endpoint "$HOST"
    --rdzv-id "${JOB:-vernier}")
if [ -n "${ADDRESS:-}" ]; then
  meeting+=(--local-addr "$ADDRESS")
  # Who listens at HOST: torchrun would compare names.
  [ "${HOST%:*}" != "$ADDRESS" ] || meeting+=(--rdzv-conf is_host=1)
  [ "${HOST%:*}" = "$ADDRESS" ] || meeting+=(--rdzv-conf is_host=0)
fi
options=()
[ -z "${VERNIER_INTERFACE:-}" ] || options=(--set "cluster.interface=$VERNIER_INTERFACE")

# The two dashes keep torchrun from taking our options for its own.
exec torchrun "${meeting[@]}" --nproc-per-node "$ranks" --max-restarts "${RESTARTS:-3}" \
  --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 --no-python -- \
  "${VERNIER:-vernier}" train "$config" --run "$run" "${options[@]}" "$@"
