#!/bin/sh
# The whole demo in one terminal: controller, worker and page. Ctrl-C ends all three; so does the end of any.
#   sh launch_demo.sh [GPU]
. ../_base_/env.sh

running=  # name:pid of each part

start() {  # NAME [arguments]
    part=$1
    shift
    "$PYTHON" -m "depictqa.serve.$part" "$@" &
    running="$running $part:$!"
}

signal() { for part in $running; do kill "-$1" "${part#*:}" 2>/dev/null; done; }

stop() {
    trap 'signal KILL' INT TERM HUP  # asked twice: now
    signal TERM  # each part finishes the answers it is giving
    wait
}

# Until all have started, a trap only takes note: stopping the parts right away would miss the one being started.
asked=
trap 'asked=130' INT
trap 'asked=143' TERM HUP

start controller --cfg serve.yaml
start worker --cfg config.yaml --serve_cfg serve.yaml
start web --cfg serve.yaml
sleep 1  # a shell that has not become its part yet would lose a signal

while [ -z "$asked" ]; do
    for part in $running; do
        if ! kill -0 "${part#*:}" 2>/dev/null; then
            wait "${part#*:}"
            code=$?
            [ -z "$asked" ] || break 2  # the same Ctrl-C ended the part
            echo "error: the ${part%:*} has ended (see its messages above); stopping the demo" >&2
            stop
            exit $code
        fi
    done
    sleep 1 &
    wait $!  # a plain sleep would hold a signal back
done
stop
exit "$asked"
