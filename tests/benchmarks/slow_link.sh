#!/bin/bash
# Trains over a link of limited speed: the coordinator here, two workers in a network namespace of their own, a token bucket
# on either end of the virtual cable between them. Needs root, iproute2 and a kernel with tbf.
#
#   slow_link.sh COORDINATOR [MBIT] [STEPS] [OPTION...]     COORDINATOR: the built program; OPTIONs of train, such as --wire bf16
set -eu
coordinator=$1 mbit=${2:-1000} steps=${3:-1500}
shift $(($# < 3 ? $# : 3))
space=slow-link-$$ here=sl$$a there=sl$$b out=$(mktemp -d)
end() {
    ip link del "$here" 2>/dev/null || true
    ip netns del "$space" 2>/dev/null || true
    rm -r "$out"
}
trap end EXIT

ip netns add "$space"
ip link add "$here" type veth peer name "$there"
ip link set "$there" netns "$space"
ip address add 10.77.0.1/30 dev "$here"
ip link set "$here" up
ip -n "$space" address add 10.77.0.2/30 dev "$there"
ip -n "$space" link set "$there" up
tc qdisc add dev "$here" root tbf rate "${mbit}mbit" burst 64kb latency 20ms
tc -n "$space" qdisc add dev "$there" root tbf rate "${mbit}mbit" burst 64kb latency 20ms

"$coordinator" train --workers 0 --min-workers 2 --listen 10.77.0.1:5099 --insecure --exchange grpc \
    --max-steps "$steps" "$@" --out "$out/run" > "$out/log" 2>&1 &
for worker in 1 2; do
    ip netns exec "$space" "$(dirname "$coordinator")/worker/worker" --coordinator http://10.77.0.1:5099 --threads 1 > "$out/worker-$worker" 2>&1 &
done
wait
python3 - "$out/run/run.json" "$steps" << 'PYTHON'
import json, sys
run, steps = json.load(open(sys.argv[1])), int(sys.argv[2])
print({"ms_per_step": [round(64e3 / epoch["images_per_second"], 2) for epoch in run["epochs"]],
       "phases_ms": {name: round(1e3 * seconds / steps, 2) for name, seconds in run["phases"].items()}})
PYTHON
