#!/bin/sh
# Start the page of the demo, at the host and port of `gradio` in serve.yaml.
. ../_base_/env.sh

exec "$PYTHON" -m depictqa.serve.web --cfg serve.yaml "$@"
