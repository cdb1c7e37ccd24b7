#!/usr/bin/env python3
"""How much midisim-serve answers under load, beside what the library does alone, and what its memory does.

  make build/release/bench/serve_alone
  bench/serve_load.py [--clients 8] [--requests 400] [--rounds 5] [--mode find|likeness|both] CORPUS.npy QUERY.mid...
  bench/serve_load.py --memory 100000 [--clients 8] CORPUS.npy QUERY.mid...

The first takes rounds: the library alone answers so many requests, then a server does, for clients on keep-alive connections.
bench/serve_alone.c is the library: the same queries, on as many threads as the server has workers, with the report that a request
gets; --no-report leaves it out there. Printed are answers per second, processor time of each answer, what a client waits, and the
ratios of a round's two sides. The clients run in processes of their own, on the same processors: their time is printed, too.

The second sends so many requests of all kinds, damaged ones among them, and prints the server's memory on the way."""
import argparse
import http.client
import json
import multiprocessing
import os
import pathlib
import random
import resource
import statistics
import subprocess
import time

NOTE_NAMES = "C C# D Eb E F F# G Ab A Bb B".split()
KINDS = "midi phrase piece damaged wrong refused status".split()


# ---- The server -----------------------------------------------------------------------------------------------------


class Server:
    def __init__(self, a):
        command = [f"{a.build}/midisim-serve", "--port", "0", "-q", "--threads", str(a.threads), "--workers", str(a.threads)]
        command += ["--model", a.model] if a.model else []
        self.process = subprocess.Popen([*command, a.corpus], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rstrip("/\n").rpartition(":")[2])

    def memory(self):
        """What the server has in RAM, and had at most, and what of it is mapped files, as text."""
        with open(f"/proc/{self.process.pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        now, most, mapped = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM", "RssFile"))
        return f"{now:.1f} MiB, at most {most:.1f} MiB until now; {mapped:.1f} MiB are mapped files"

    def processor(self):
        """Seconds of user and system."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.terminate()
        self.process.wait()


def client(port, asks, n, first, out):
    """asks: (method, path, body, type). Request i of this client is the one after `first`."""
    waits, statuses, n_bytes = [], {}, 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    for i in range(first, first + n):
        method, path, body, kind = asks[i % len(asks)]
        began = time.monotonic()
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        answer = connection.getresponse()
        n_bytes += len(answer.read())
        waits.append(time.monotonic() - began)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    used = resource.getrusage(resource.RUSAGE_SELF)
    out.put((waits, statuses, n_bytes, used.ru_utime + used.ru_stime))


def load(server, asks, clients, requests):
    """What serve_alone says, and more, of this many requests."""
    out, before, began = multiprocessing.Queue(), server.processor(), time.monotonic()
    shares = [requests // clients + (i < requests % clients) for i in range(clients)]
    started = [multiprocessing.Process(target=client, args=(server.port, asks, share, sum(shares[:i]), out))
               for i, share in enumerate(shares)]
    for each in started:
        each.start()
    given = [out.get() for _ in started]
    for each in started:
        each.join()
    waits, statuses = sorted(wait for each in given for wait in each[0]), {}
    for each in given:
        for status, n in each[1].items():
            statuses[status] = statuses.get(status, 0) + n
    return {"answers": len(waits), "bytes": sum(each[2] for each in given), "seconds": time.monotonic() - began,
            "processor": server.processor() - before, "p50": waits[len(waits) // 2], "p99": waits[len(waits) * 99 // 100],
            "statuses": statuses, "clients": sum(each[3] for each in given)}


# ---- Beside the library ---------------------------------------------------------------------------------------------


def alone(a):
    command = [f"{a.build}/bench/serve_alone", "--mode", a.mode, "--keys", a.keys, "--k", a.k, "--threads", a.threads,
               "--requests", a.requests, "--notes", pathlib.Path(a.corpus).with_suffix(".notes")]
    command += ["--no-report"] if a.no_report else []
    if a.mode != "find":
        command += ["--model", a.model]
    return json.loads(subprocess.run([*map(str, command), a.corpus, *a.queries], stdout=subprocess.PIPE, check=True).stdout)


def say(who, r):
    n = r["answers"]
    print(f"{who:8} {n} answers, {n / r['seconds']:8.2f}/s, {1000 * r['processor'] / n:9.3f} ms of processor each, "
          f"p50 {1000 * r['p50']:.1f} ms, p99 {1000 * r['p99']:.1f} ms, {r['bytes'] / n / 1024:.1f} KiB"
          + (f"; clients {1000 * r['clients'] / n:.3f} ms" if "clients" in r else ""), flush=True)


def middle(values):
    return f"median {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def compare(a):
    path = f"/api/search?mode={a.mode}&keys={a.keys}&k={a.k}"
    asks = [("POST", path, pathlib.Path(query).read_bytes(), "audio/midi") for query in a.queries]
    server, processor, wall = Server(a), [], []
    try:
        load(server, asks, a.clients, len(asks))  # each query once, to warm up
        for i in range(a.rounds):  # who comes first changes
            served = load(server, asks, a.clients, a.requests) if i % 2 else None
            library = alone(a)
            served = served or load(server, asks, a.clients, a.requests)
            if served["statuses"] != {200: a.requests}:
                raise SystemExit(f"expected answers alone, got {served['statuses']}")
            say("library", library)
            say("server", served)
            processor.append(served["processor"] / library["processor"])
            wall.append(library["seconds"] / served["seconds"])
        print(f"processor time, server / library: {middle(processor)}")
        print(f"requests per second, server / library: {middle(wall)}")
        print(f"memory: {server.memory()}")
    finally:
        server.end()


# ---- Memory ---------------------------------------------------------------------------------------------------------


def mixed(a):
    """Requests of all kinds, the same in every run: [(method, path, body, type)]."""
    choose = random.Random(1)
    bodies, asks = [pathlib.Path(query).read_bytes() for query in a.queries], []
    for i in range(997):
        body, kind = bytearray(choose.choice(bodies)), KINDS[i % len(KINDS)]
        path = f"/api/find?k={choose.choice((1, 4, 8))}&keys={choose.choice(('all', 'own'))}"
        if kind == "status":
            asks.append(("GET", "/api/status", None, ""))
        elif kind == "refused":
            asks.append(choose.choice((("POST", path, b"x", "text/plain"), ("GET", "/nothing", None, ""),
                                       ("PUT", path, b"x", "audio/midi"))))
        elif kind == "wrong":
            asks.append(("POST", path, choose.choice((b"{", b"[]", b'{"notes":""}', b'{"piece":"n999999"}')), "application/json"))
        elif kind == "phrase":
            text = " ".join(f"{choose.choice(NOTE_NAMES)}{choose.choice('345')}" for _ in range(choose.randrange(4, 40)))
            asks.append(("POST", path, json.dumps({"notes": text}).encode(), "application/json"))
        elif kind == "piece":
            asks.append(choose.choice((("GET", f"/api/piece/n{choose.randrange(300)}", None, ""),
                                       ("POST", path, json.dumps({"piece": f"n{choose.randrange(300)}"}).encode(), "application/json"))))
        else:
            if kind == "damaged":
                for _ in range(3):
                    body[choose.randrange(len(body))] = choose.randrange(256)
                body = body[:choose.randrange(1, len(body) + 1)]
            asks.append(("POST", path, bytes(body), "audio/midi"))
    return asks


def watch_memory(a):
    asks, done = mixed(a), 0
    server = Server(a)
    steps = [n for n in (100, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000) if n < a.memory] + [a.memory]
    try:
        for step in steps:
            r = load(server, asks[done % len(asks):] + asks[:done % len(asks)], a.clients, step - done)
            done = step
            print(f"{done:8} requests: {server.memory()}; {1000 * r['processor'] / r['answers']:.2f} ms of processor each, "
                  f"{sorted(r['statuses'].items())}", flush=True)
    finally:
        server.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2, help="of the library, and workers of the server")
    parser.add_argument("--requests", type=int, default=400, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mode", default="find", choices=("find", "likeness", "both"))
    parser.add_argument("--keys", default="all", choices=("all", "own"))
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--model", default=None)
    parser.add_argument("--no-report", action="store_true", help="the library finds matches alone")
    parser.add_argument("--memory", type=int, default=0, metavar="REQUESTS", help="send so many, and watch the memory")
    parser.add_argument("corpus")
    parser.add_argument("queries", nargs="+")
    a = parser.parse_args()
    if a.memory:
        watch_memory(a)
    else:
        compare(a)


if __name__ == "__main__":
    main()
