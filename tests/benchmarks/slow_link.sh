#!/bin/bash
# Trains over links of limited speed: the coordinator and two workers, each in a network namespace of its own, on a switch
# each of whose ports has this speed in both directions. Prints each epoch's milliseconds a step; the first one's hold the data set's way
# to the workers. Needs root, iproute2 and a kernel with tbf.
#
#   slow_link.sh COORDINATOR [MBIT] [STEPS] [OPTION...]     COORDINATOR: the built program; OPTIONs of train, such as --wire bf16
set -eu
coordinator=$1 mbit=${2:-1000} steps=${3:-2814}
shift $(($# < 3 ? $# : 3))
name=slow-link-$$ out=$(mktemp -d)
hosts="0 1 2"
end() {
    kill $(jobs -p) 2>/dev/null || true
    wait || true
    for host in $hosts switch; do
        ip netns del "$name-$host" 2>/dev/null || true
    done
    rm -r "$out"
}
trap end EXIT
trap 'exit 143' TERM

# The switch has a namespace, too: rules for this machine's bridges are none of its business.
ip netns add "$name-switch"
ip -n "$name-switch" link add switch type bridge
ip -n "$name-switch" link set switch up
for host in $hosts; do
    ip netns add "$name-$host"
    ip link add "port$host" netns "$name-switch" type veth peer name uplink netns "$name-$host"
    ip -n "$name-switch" link set "port$host" master switch up
    ip -n "$name-$host" address add "10.77.0.$((host + 1))/24" dev uplink
    ip -n "$name-$host" link set lo up
    ip -n "$name-$host" link set uplink up
    # Not every machine's usual congestion control can cope with a bucket of tokens for a wire.
    ip -n "$name-$host" route change 10.77.0.0/24 dev uplink src "10.77.0.$((host + 1))" congctl cubic
    for end in "$name-switch port$host" "$name-$host uplink"; do
        tc -n ${end% *} qdisc add dev "${end#* }" root tbf rate "${mbit}mbit" burst 64kb latency 50ms
    done
done

ip netns exec "$name-0" "$coordinator" train --workers 0 --min-workers 2 --listen 10.77.0.1:5099 --insecure --exchange grpc \
    --epochs 4 --max-steps "$steps" "$@" --out "$out/run" > "$out/log" 2>&1 &
for host in 1 2; do
    ip netns exec "$name-$host" "$(dirname "$coordinator")/worker/worker" --coordinator http://10.77.0.1:5099 --threads 1 > "$out/worker-$host" 2>&1 &
done
wait
python3 - "$out/run/run.json" "$steps" << 'PYTHON'
import json, sys
run, steps = json.load(open(sys.argv[1])), int(sys.argv[2])
print({"ms_per_step": [round(64e3 / epoch["images_per_second"], 2) for epoch in run["epochs"]],
       "phases_ms": {name: round(1e3 * seconds / steps, 2) for name, seconds in run["phases"].items()}})
PYTHON
