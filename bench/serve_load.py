#!/usr/bin/env python3
"""How much midisim-serve answers under load: N clients on keep-alive connections, and one client alone;
the 50th and 99th percentile of what a client waits, and the server's memory at the beginning and at the end.

  bench/serve_load.py [--build build/release] [--clients 8] [--requests 10000] [--path /api/find?k=8] CORPUS QUERY.mid...

The clients run in processes of their own. Processor seconds of the server are counted, so that what else runs on the machine
changes the times of clients but not the cost of a request."""
import argparse
import http.client
import multiprocessing
import os
import pathlib
import subprocess
import time


def client(port, path, bodies, n, out):
    waits, connection = [], http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    for i in range(n):
        began = time.monotonic()
        connection.request("POST", path, bodies[i % len(bodies)], {"Content-Type": "audio/midi"})
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            waits.append(time.monotonic() - began)
    out.put(waits)


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("VmRSS"))) / 1024


def processor(pid):
    """Seconds of user and system."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(process, port, path, bodies, clients, requests):
    out, before, began = multiprocessing.Queue(), processor(process.pid), time.monotonic()
    started = [multiprocessing.Process(target=client, args=(port, path, bodies, requests // clients, out)) for _ in range(clients)]
    for each in started:
        each.start()
    waits = sorted(wait for _ in started for wait in out.get())
    for each in started:
        each.join()
    seconds, used = time.monotonic() - began, processor(process.pid) - before
    print(f"{clients} clients: {len(waits)} answers of {requests // clients * clients}, {len(waits) / seconds:.1f}/s, "
          f"{1000 * used / max(1, len(waits)):.2f} ms of processor each, p50 {1000 * waits[len(waits) // 2]:.1f} ms, "
          f"p99 {1000 * waits[len(waits) * 99 // 100]:.1f} ms; {memory(process.pid):.1f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--path", default="/api/find?k=8")
    parser.add_argument("corpus")
    parser.add_argument("queries", nargs="+")
    a = parser.parse_args()
    bodies = [pathlib.Path(query).read_bytes() for query in a.queries]
    process = subprocess.Popen([f"{a.build}/midisim-serve", "--port", "0", "-q", a.corpus], stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rstrip("/\n").rpartition(":")[2])
        load(process, port, a.path, bodies, 1, max(20, a.requests // 100))
        for _ in range(4):
            load(process, port, a.path, bodies, a.clients, a.requests // 4)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
