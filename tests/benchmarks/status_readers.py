"""What readers of the status endpoint cost training.

Trains in pairs, with readers and without, in alternating order: READERS connections to /events that take in everything,
and one that polls /status every 100 ms. Prints the seconds that the epochs took, from run.json, and what the readers added
to them in percent: over all epochs, and without the first, in which code is compiled and the connections are made. The readers run on the same machine, so that their own work, which the last column shows, is in the
figure too: it is an upper bound.

    python3 status_readers.py [--pairs 5] [--epochs 10] [--readers 200] [COORDINATOR]
"""

import argparse
import http.client
import json
import multiprocessing
import pathlib
import re
import resource
import selectors
import socket
import statistics
import subprocess
import tempfile
import threading

POLL_SECONDS = 0.1
ROOT = pathlib.Path(__file__).resolve().parents[2]


def poll(host: str, port: int, stop: threading.Event, counts: dict) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    while not stop.wait(POLL_SECONDS):
        connection.request("GET", "/status")
        connection.getresponse().read()
        counts["polls"] += 1


def read(host: str, port: int, readers: int, report) -> None:
    """Reads until the coordinator ends all streams; reports what it took in and its own processor time in seconds."""
    counts = {"bytes": 0, "polls": 0}
    stop = threading.Event()
    poller = threading.Thread(target=poll, args=(host, port, stop, counts), daemon=True)
    selector = selectors.DefaultSelector()
    for _ in range(readers):
        connection = socket.create_connection((host, port))
        connection.sendall(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
    poller.start()
    buffer = bytearray(1 << 18)
    while selector.get_map():
        for key, _ in selector.select():
            try:
                received = key.fileobj.recv_into(buffer)
            except ConnectionError:
                received = 0
            counts["bytes"] += received
            # The chunk of length zero ends the answer; the connection would stay.
            if received == 0 or buffer[max(0, received - 5):received].endswith(b"0\r\n\r\n"):
                if not stop.is_set():
                    stop.set()
                selector.unregister(key.fileobj)
                key.fileobj.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    report.send((counts["bytes"], counts["polls"], usage.ru_utime + usage.ru_stime))


def train(coordinator: str, epochs: int, readers: int) -> tuple[list[float], str]:
    """Seconds that each epoch took, and what the readers did."""
    with tempfile.TemporaryDirectory() as out:
        command = [coordinator, "train", "--workers", "2", "--threads", "1", "--epochs", str(epochs), "--status", "127.0.0.1:0", "--out", out]
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        done = ""
        for line in run.stderr:
            address = re.match(r"status at http://([^:]+):(\d+)/", line)
            if address:
                break
        else:
            raise SystemExit(f"the coordinator told no address: exit code {run.wait()}")
        if readers:
            receiver, sender = multiprocessing.Pipe(duplex=False)
            reader = multiprocessing.Process(target=read, args=(address[1], int(address[2]), readers, sender))
            reader.start()
        threading.Thread(target=run.stderr.read, daemon=True).start()
        if run.wait() != 0:
            raise SystemExit(f"the coordinator failed: exit code {run.returncode}")
        if readers:
            received, polls, seconds = receiver.recv()
            reader.join()
            done = f"{received / 1e6:.0f} MB and {polls} polls read in {seconds:.1f} s of processor time"
        epochs_done = json.loads((pathlib.Path(out) / "run.json").read_text())["epochs"]
        return [epoch["seconds"] for epoch in epochs_done], done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coordinator", nargs="?", default=str(ROOT / "coordinator/bin/Release/net10.0/coordinator"))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--readers", type=int, default=200)
    arguments = parser.parse_args()
    train(arguments.coordinator, 1, 0)
    costs, steady = [], []
    for pair in range(arguments.pairs):
        order = [0, arguments.readers] if pair % 2 == 0 else [arguments.readers, 0]
        results = {readers: train(arguments.coordinator, arguments.epochs, readers) for readers in order}
        (alone, _), (watched, done) = results[0], results[arguments.readers]
        costs.append((sum(watched) / sum(alone) - 1) * 100)
        steady.append((sum(watched[1:]) / sum(alone[1:]) - 1) * 100)
        print(
            f"pair {pair + 1}: alone {sum(alone):.2f} s, watched {sum(watched):.2f} s: {costs[-1]:+.1f}%, {steady[-1]:+.1f}% after the first epoch   ({done})",
            flush=True,
        )
    for name, values in (("all epochs", costs), ("after the first epoch", steady)):
        print(f"cost of {arguments.readers} readers, {name}: median {statistics.median(values):+.1f}%, mean {statistics.mean(values):+.1f}%")


if __name__ == "__main__":
    main()
