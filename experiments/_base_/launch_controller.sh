#!/bin/sh
# Start the controller of the demo: it knows the workers, and hands each question to one.
. ../_base_/env.sh

exec "$PYTHON" -m depictqa.serve.controller --cfg serve.yaml "$@"
