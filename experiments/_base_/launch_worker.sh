#!/bin/sh
# Start a worker of the demo: the model of config.yaml on one device. Any number of them may run; each needs its own
# worker.port and worker.worker_url in a serve.yaml.
#   sh launch_worker.sh [GPU] [options of the worker]
. ../_base_/env.sh

exec "$PYTHON" -m depictqa.serve.worker --cfg config.yaml --serve_cfg serve.yaml "$@"
