#!/usr/bin/env python3
"""Trains over a link of limited speed and some delay: the coordinator in one network namespace, two workers in another.

Each namespace has a TUN device whose queue lets packets out at the link's speed (tbf), and this program carries each from one to the
other, where it arrives the delay after it left; so a round trip takes twice the delay. It needs no netem. The queue is the kernel's, so
that TCP holds back what it has not room for, as before a network card: where this program kept the queue a step took 2 ms longer. Packets
are as large as TCP makes them for a card, up to 16 KB. Prints each epoch's milliseconds a step; the first one's hold the data set's
way to the workers. Needs root, iproute2, a kernel with tbf and /dev/net/tun.

    delayed_link.py COORDINATOR [MBIT] [DELAY_MS] [STEPS] [OPTION...]     COORDINATOR: the built program; OPTIONs of train
"""

import collections, ctypes, fcntl, json, os, select, signal, struct, subprocess, sys, tempfile, time

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02
VNET_HEADER = 10
CLONE_NEWNET, PR_SET_TIMERSLACK = 0x40000000, 29
# Bytes: the largest packet.
LARGEST = 16384
libc = ctypes.CDLL(None, use_errno=True)


def run(*command):
    subprocess.run(command, check=True)


def enter(path):
    with open(path) as space:
        if libc.setns(space.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")


def open_device(namespace, address, mbit, home):
    """A TUN device in a namespace, up, with this address, which sends at this speed."""
    enter(f"/run/netns/{namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"uplink", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(device, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER))
    fcntl.ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    enter(home)
    run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "uplink")
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    run("ip", "-n", namespace, "link", "set", "uplink", "txqueuelen", "10000", "gso_max_size", str(LARGEST), "up")
    run("tc", "-n", namespace, "qdisc", "add", "dev", "uplink", "root", "tbf", "rate", f"{mbit}mbit", "burst", "64kb", "latency", "50ms")
    return device


class Direction:
    """Packets on their way from one device to the other."""

    def __init__(self, source, target, delay):
        self.source, self.target, self.delay = source, target, delay
        self.packets = collections.deque()

    def read(self):
        try:
            while True:
                packet = os.read(self.source, 1 << 17)
                self.packets.append((time.monotonic() + self.delay, packet))
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
        devices = [open_device(space, f"10.79.0.{i + 1}", mbit, home) for i, space in enumerate(spaces)]
        directions = [Direction(*devices, delay / 1e3), Direction(*devices[::-1], delay / 1e3)]

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
