#!/usr/bin/env bash
# A job under Open MPI:
#
#   RANKS=16 HOSTS=node0:8,node1:8 VERNIER_INTERFACE=eth0 \
#     configs/cluster/mpirun.sh CONFIG.toml RUN_FOLDER [options of `vernier train`]
#
# On one machine HOSTS and VERNIER_INTERFACE are left out. mpirun starts the ranks; what they say to
# each other goes over c10d and not over MPI. To save and leave send SIGUSR1 to mpirun, which passes it
# on; after a SIGTERM it kills the ranks before they have saved.
set -euo pipefail
config=$1 run=$2
shift 2
launch=(-n "${RANKS:-2}")
options=()
if [ -n "${HOSTS:-}" ]; then
  first=${HOSTS%%[:,]*}
  launch+=(--host "$HOSTS" -x "MASTER_ADDR=$first" -x "MASTER_PORT=${PORT:-29500}")
fi
[ -z "${VERNIER_INTERFACE:-}" ] || options=(--set "cluster.interface=$VERNIER_INTERFACE")
[ "$(id -u)" -ne 0 ] || launch+=(--allow-run-as-root)  # of a container

exec mpirun "${launch[@]}" "${VERNIER:-vernier}" train "$config" --run "$run" "${options[@]}" "$@"
