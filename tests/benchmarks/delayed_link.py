#!/usr/bin/env python3
"""Trains over a link of limited speed and some delay: the coordinator in one network namespace, two workers in another.

Each namespace has a TUN device, and this program carries packets from one to the other: a packet leaves when the one before it has
left and its own bits are sent, and arrives the delay later; so a round trip takes twice the delay. It needs no netem. Packets are as large as
TCP makes them for a network card, up to 16 KB. Prints each epoch's milliseconds a step; the first one's hold the data set's way to the workers.
Needs root, iproute2 and /dev/net/tun.

    delayed_link.py COORDINATOR [MBIT] [DELAY_MS] [STEPS] [OPTION...]     COORDINATOR: the built program; OPTIONs of train
"""

import collections, ctypes, fcntl, json, os, select, signal, struct, subprocess, sys, tempfile, time

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02
VNET_HEADER = 10
CLONE_NEWNET, PR_SET_TIMERSLACK = 0x40000000, 29
# Bytes: the largest packet, the headers of IP and TCP, what a segment of TCP holds, and what Ethernet adds to a packet.
LARGEST, HEADERS, SEGMENT, ETHERNET = 16384, 40, 1448, 38
libc = ctypes.CDLL(None, use_errno=True)


def run(*command):
    subprocess.run(command, check=True)


def enter(path):
    with open(path) as space:
        if libc.setns(space.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")


def open_device(namespace, address, home):
    """A TUN device in a namespace, up, with this address."""
    enter(f"/run/netns/{namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"uplink", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(device, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER))
    fcntl.ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    enter(home)
    run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "uplink")
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    run("ip", "-n", namespace, "link", "set", "uplink", "txqueuelen", "10000", "gso_max_size", str(LARGEST), "up")
    return device


class Direction:
    """Packets on their way from one device to the other."""

    def __init__(self, source, target, bits_per_second, delay):
        self.source, self.target, self.speed, self.delay = source, target, bits_per_second, delay
        self.packets, self.sent = collections.deque(), 0.0

    def read(self):
        try:
            while True:
                packet = os.read(self.source, 1 << 17)
                length = len(packet) - VNET_HEADER
                # A large packet goes over a wire as segments, each with headers of its own.
                segments = 1 + (length - 1) // SEGMENT
                length += HEADERS * (segments - 1) + ETHERNET * segments
                self.sent = max(self.sent, time.monotonic()) + 8 * length / self.speed
                self.packets.append((self.sent + self.delay, packet))
        except BlockingIOError:
            pass

    def write(self, now):
        """Delivers what has arrived; returns when the next packet does."""
        while self.packets:
            due, packet = self.packets[0]
            if due > now:
                return due
            os.write(self.target, packet)
            self.packets.popleft()
        return None


def carry(directions, until):
    sources = [direction.source for direction in directions]
    while until():
        now = time.monotonic()
        dues = [due for due in (direction.write(now) for direction in directions) if due is not None]
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else 0.1
        ready, _, _ = select.select(sources, [], [], timeout)
        for direction in directions:
            if direction.source in ready:
                direction.read()


if len(sys.argv) < 2:
    sys.exit(__doc__)
coordinator = sys.argv[1]
mbit, delay, steps = (float(value) for value in (sys.argv[2:5] + ["1000", "0.2", "2814"][len(sys.argv[2:5]):]))
options = sys.argv[5:]
home = f"/proc/{os.getpid()}/fd/{os.open('/proc/self/ns/net', os.O_RDONLY)}"
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
libc.prctl(PR_SET_TIMERSLACK, 1000)
os.nice(-10)
spaces = [f"delayed-link-{os.getpid()}-{side}" for side in "ab"]
children = []
with tempfile.TemporaryDirectory() as out:
    try:
        for space in spaces:
            run("ip", "netns", "add", space)
        devices = [open_device(space, f"10.79.0.{i + 1}", home) for i, space in enumerate(spaces)]
        directions = [Direction(*devices, mbit * 1e6, delay / 1e3), Direction(*devices[::-1], mbit * 1e6, delay / 1e3)]

        def start(space, *command):
            with open(f"{out}/{len(children)}", "w") as log:
                children.append(subprocess.Popen(["ip", "netns", "exec", space, *command], stdout=log, stderr=log, preexec_fn=lambda: os.nice(10)))

        start(spaces[0], coordinator, "train", "--workers", "0", "--min-workers", "2", "--listen", "10.79.0.1:5099", "--insecure", "--exchange", "grpc",
              "--epochs", "4", "--max-steps", str(int(steps)), *options, "--out", f"{out}/run")
        for _ in range(2):
            start(spaces[1], f"{os.path.dirname(coordinator)}/worker/worker", "--coordinator", "http://10.79.0.1:5099", "--threads", "1")
        carry(directions, lambda: any(child.poll() is None for child in children))
        if not os.path.exists(f"{out}/run/run.json"):
            sys.exit("".join(open(f"{out}/{i}").read() for i in range(len(children))))
        result = json.load(open(f"{out}/run/run.json"))
        print({"ms_per_step": [round(64e3 / epoch["images_per_second"], 2) for epoch in result["epochs"]],
               "phases_ms": {name: round(1e3 * seconds / steps, 2) for name, seconds in result["phases"].items()}})
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)
