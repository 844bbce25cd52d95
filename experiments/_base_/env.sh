# Sourced first by every script here, from the experiment's folder. Sets
#   PYTHON  the Python that runs: as given, else the repository's .venv, else `python`
#   GPUS    the script's first argument where it is a GPU id or a list of them (it is then taken away)
#   LAUNCH  what starts infer.py once for each of several GPUs, or on NODES machines that meet at RDZV=host:port; else empty
# Without an id, CUDA_VISIBLE_DEVICES stays as it is: an empty one would hide every GPU.

if [ ! -f config.yaml ]; then
    echo "error: no config.yaml in $(pwd); run this in an experiment's folder" >&2
    exit 2
fi

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -x ../../.venv/bin/python ]; then PYTHON=../../.venv/bin/python; fi
fi

GPUS=
case "${1-none}" in
    '') shift ;;
    GPU-* | MIG-*) GPUS=$1 ;;
    *[!0-9,]*) ;;
    *) GPUS=$1 ;;
esac
if [ -n "$GPUS" ]; then
    shift
    CUDA_VISIBLE_DEVICES=$GPUS
    export CUDA_VISIBLE_DEVICES
fi

LAUNCH=
processes=$(IFS=,; set -- ${GPUS:-any}; echo $#)
if [ "$processes" -gt 1 ] || [ -n "${NODES:-}" ]; then
    LAUNCH="-m torch.distributed.run --nproc_per_node $processes"
    if [ -n "${NODES:-}" ]; then
        if [ -z "${RDZV:-}" ]; then echo "error: NODES needs RDZV, the host:port of one of them" >&2; exit 2; fi
        LAUNCH="$LAUNCH --nnodes $NODES --rdzv_backend c10d --rdzv_endpoint $RDZV"
    else
        LAUNCH="$LAUNCH --standalone"
    fi
fi
