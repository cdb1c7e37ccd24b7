"""A server for a test: started, asked, ended."""
import contextlib
import http.client
import json
import os
import signal
import subprocess

from cli_util import ENV, tool


class Server:
    def __init__(self, *arguments, cwd=None, env=None):
        command = [tool("serve"), "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=cwd, env=dict(ENV, **(env or {})), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.line = self.process.stdout.readline().decode().strip()
        if not self.line:
            raise AssertionError(self.process.communicate()[1].decode())
        self.address, _, self.token = self.line.partition("/#token=")
        self.address = self.address.rstrip("/")
        self.host = self.address.removeprefix("http://")
        self.port = int(self.host.rpartition(":")[2])

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, **headers):
        """(status, headers, body); names of headers have _ for -."""
        connection = self.connect()
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, **headers):
        status, given, text = self.ask(method, path, body, **headers)
        assert given["Content-Type"] == "application/json", text
        return status, json.loads(text)

    def midi(self, path, body, **headers):
        return self.json("POST", path, body, Content_Type="audio/midi", **headers)

    def typed(self, path, body, **headers):
        return self.json("POST", path, json.dumps(body), Content_Type="application/json", **headers)

    def memory(self, peak=False):
        """Bytes of RAM that it uses, or has used at most."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(next(line.split()[1] for line in status if line.startswith("VmHWM" if peak else "VmRSS"))) * 1024

    def seconds(self):
        """Of a processor, so far."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, number=signal.SIGTERM, limit=10):
        """Its exit code and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        said = self.process.communicate(timeout=limit)[1].decode()
        return self.process.returncode, said


@contextlib.contextmanager
def serving(*arguments, **options):
    server = Server(*arguments, **options)
    try:
        yield server
    finally:
        code, said = server.end()
    assert code == 128 + signal.SIGTERM and "ERROR" not in said, said
