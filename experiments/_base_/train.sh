#!/bin/sh
# Train on the mixture of config.yaml.
#   sh train.sh 0,1,2,3              four GPUs of this machine
#   sh train.sh                      one process: one GPU where there is one, else the CPU (`sh train.sh 3`: GPU 3)
#   HOSTFILE=hosts sh train.sh       all GPUs of several machines, over ssh; a line of the file: name slots=8
#   sh train.sh 0,1 --set train.epochs=2 --resume auto     options of train.py come last
. ../_base_/env.sh

fail() { echo "error: $1" >&2; exit 2; }

set -- ../../src/train.py --cfg config.yaml "$@"
if [ -n "${HOSTFILE:-}" ]; then
    if [ -n "$GPUS" ]; then fail "give GPU ids or HOSTFILE, not both"; fi
    if [ ! -f "$HOSTFILE" ]; then fail "HOSTFILE: $HOSTFILE does not exist"; fi  # DeepSpeed would train without it
    command -v pdsh >/dev/null || fail "HOSTFILE: pdsh is not installed, by which DeepSpeed starts the other machines"
    set -- --hostfile "$HOSTFILE" "$@"
else
    case $GPUS in
        *,*) set -- --include "localhost:$GPUS" "$@" ;;
        *) exec "$PYTHON" "$@" ;;
    esac
    unset CUDA_VISIBLE_DEVICES  # the launcher sets it for each of its processes
    "$PYTHON" -c "import sys, torch; sys.exit(not torch.cuda.is_available())" ||
        fail "GPUs $GPUS asked for, but PyTorch sees none; 'sh train.sh' trains on the CPU"
fi
exec "$PYTHON" -m deepspeed.launcher.runner --master_port "${MASTER_PORT:-29500}" "$@"
