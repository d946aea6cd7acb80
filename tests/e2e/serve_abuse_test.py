"""What `ddpm serve` does when clients misbehave: each attack has an answer, memory stays where it was, and an ordinary
request in between is answered."""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import program

KEY = "abuse-test-key-0123456789"
MEMORY_MIB = 64  # that all the attacks together may leave behind


class Server:
    """A running `ddpm serve` on a free port."""

    def __init__(self, models, *flags):
        self.log = models.parent / "serve.log"
        environment = os.environ | {"DDPM_API_KEY": KEY, "OMP_NUM_THREADS": "1"}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([program.DDPM, "serve", models, "--port", "0", *map(str, flags)], env=environment,
                                            stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        self.port = 0
        while not self.port:
            found = re.findall(r"http://127\.0\.0\.1:(\d+)", self.log.read_text())
            if found:
                self.port = int(found[-1])
            elif self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start: {self.log.read_text()}")
            time.sleep(0.05)

    def ask(self, method, path, body=None, key=KEY, timeout=60):
        """(status, headers, body)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def raw(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.addCleanup(connection.close)
        return connection

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def generation(**more):
    return {"model": "tiny", "sampler": {"kind": "ddim", "steps": 5}, "seed": 1} | more


def head(method, path, *fields):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {KEY}", *fields, "", ""]).encode()


def read_all(connection):
    """What the server sends until it closes, or for as long as the socket waits."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except OSError:
        pass
    return b"".join(pieces)


def status_of(answer):
    """Of the first response, 0 if the connection was cut without one."""
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return int(found[1]) if found else 0


class ServeAbuseTest(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.train_tiny("models/tiny")

    def serve(self, *flags):
        server = Server(self.folder / "models", *flags)
        server.addCleanup = self.addCleanup
        self.addCleanup(server.stop)
        status, _, image = server.ask("POST", "/v1/generate", generation())
        self.assertEqual(status, 200, image[:300])
        self.image = image
        return server

    def assert_serves(self, server):
        """An ordinary request gets the image that it got at the start."""
        status, _, image = server.ask("POST", "/v1/generate", generation())
        self.assertEqual((status, image), (200, self.image))

    def send(self, server, *pieces, count=1):
        """What comes back for bytes that may be cut off."""
        connection = server.raw()
        try:
            for _ in range(count):
                for piece in pieces:
                    connection.sendall(piece)
        except OSError:
            pass  # the server had enough
        return read_all(connection)

    def test_attacks_are_answered_and_leave_nothing_behind(self):
        server = self.serve("--max-queue", 200)
        for _ in range(3):
            self.assert_serves(server)
        idle = server.resident_mib()
        for attack in (self.big_heads, self.big_bodies, self.broken_requests, self.slow_clients, self.many_connections,
                       self.bad_generations, self.wrong_keys, self.paths_outside, self.queue_flood, self.cancel_storm,
                       self.clients_that_leave):
            with self.subTest(attack.__name__):
                attack(server)
                self.assert_serves(server)
        deadline = time.monotonic() + 20
        while server.resident_mib() > idle + MEMORY_MIB and time.monotonic() < deadline:
            time.sleep(0.5)
        self.assertLess(server.resident_mib(), idle + MEMORY_MIB)
        self.assertIsNone(server.process.poll())

    def big_heads(self, server):
        line = self.send(server, b"GET /v1/models HTTP/1.1\r\nX-Long: ", *[b"a" * (1 << 20)] * 200)
        self.assertIn(status_of(line), (0, 431))
        flood = self.send(server, b"GET /v1/models HTTP/1.1\r\n", b"X-Many: 1\r\n" * 100_000)
        self.assertIn(status_of(flood), (0, 431))
        target = self.send(server, head("GET", "/" + "a" * 100_000))
        self.assertIn(status_of(target), (0, 414, 431))

    def big_bodies(self, server):
        declared = self.send(server, head("POST", "/v1/generate", "Content-Type: application/json", "Content-Length: 209715200"))
        self.assertEqual(status_of(declared), 413)
        chunk = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"
        chunked = self.send(server, head("POST", "/v1/generate", "Content-Type: application/json", "Transfer-Encoding: chunked"),
                            *[chunk] * 200)
        self.assertIn(status_of(chunked), (0, 413))
        unread = self.send(server, head("GET", "/v1/models", "Content-Length: 1000000"))
        self.assertIn(status_of(unread), (400, 413))

    def broken_requests(self, server):
        both = self.send(server, head("POST", "/v1/generate", "Content-Type: application/json", "Content-Length: 5",
                                      "Transfer-Encoding: chunked") + b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        self.assertEqual(status_of(both), 400)
        self.assertEqual(both.count(b"HTTP/1.1 "), 1, "what follows is no request")
        for bytes_ in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"\0" * 1000 + b"\r\n\r\n"):
            self.assertIn(status_of(self.send(server, bytes_)), (0, 400, 408, 505))
        two = server.raw()
        two.sendall(head("GET", "/v1/models") + head("GET", "/livez", "Connection: close"))
        self.assertEqual(read_all(two).count(b"HTTP/1.1 200"), 2, "pipelined requests are answered in order")
        half = server.raw()
        half.sendall(head("GET", "/v1/models", "Connection: close"))
        half.shutdown(socket.SHUT_WR)
        self.assertEqual(status_of(read_all(half)), 200)

    def slow_clients(self, server):
        """A slow head, and readers of events that never read: others are served meanwhile."""
        loris = [server.raw() for _ in range(50)]
        for connection in loris:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        job = json.loads(server.ask("POST", "/v1/jobs", generation(num_images=16, previews=True,
                                                                   sampler={"kind": "ddim", "steps": 50}))[2])
        readers = [server.raw() for _ in range(8)]
        for connection in readers:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.sendall(head("GET", job["links"]["events"]))
        self.assert_serves(server)
        for connection in loris:
            connection.settimeout(30)
            self.assertIn(status_of(read_all(connection)), (0, 408), "a head that never ends is cut")

    def many_connections(self, server):
        connections = []
        for _ in range(2000):
            try:
                connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            except OSError:
                break
        for connection in connections[:100]:
            try:
                connection.sendall(head("GET", "/livez", "Connection: close"))
            except OSError:
                pass
        for connection in connections:
            connection.close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                if server.ask("GET", "/livez")[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        self.fail("no answer after 2,000 connections were closed")

    def bad_generations(self, server):
        nested = b"[" * 100_000 + b"]" * 100_000
        cases = [(b'{"sampler": ' + nested[:60_000], 400), (b'{"model": "\xff\xfe"}', 400), (b"{", 400), (b"[]", (400, 422)),
                 (json.dumps(generation(num_images=10 ** 12)), 422), (json.dumps(generation(num_images=-1)), 422),
                 (json.dumps(generation(sampler={"kind": "ddim", "steps": 10 ** 9})), 422),
                 (json.dumps(generation(sampler={"kind": "ddimm"})), 422), (json.dumps(generation(nunber=1)), 422),
                 (json.dumps(generation(model="../tiny")), (404, 422)), (json.dumps(generation(seed=1.5)), 422),
                 (json.dumps(generation(seed=-1)), 422), (b'{"seed": 1, "seed": 2}', 400)]
        for body, expected in cases:
            body = body if isinstance(body, bytes) else body.encode()
            status, _, answer = server.ask("POST", "/v1/generate", body)
            self.assertIn(status, expected if isinstance(expected, tuple) else (expected,), (body[:80], answer[:300]))
            error = json.loads(answer)["error"]
            self.assertTrue(error["message"] and error["request_id"], answer)
            self.assertNotIn(str(self.folder), error["message"], "no path of the server's")

    def wrong_keys(self, server):
        paths = json.loads(server.ask("GET", "/openapi.json", key=None)[2])["paths"]
        routes = [(method.upper(), re.sub(r"\{\w+\}", "x", path)) for path, operations in paths.items()
                  for method, operation in operations.items() if operation.get("security") != []]
        self.assertGreater(len(routes), 15)
        for prefix in ("", "/gradio_api"):
            routes += [(method, prefix + path) for method, path in (
                ("GET", "/config"), ("GET", "/info"), ("GET", "/app_id"), ("POST", "/queue/join"), ("GET", "/queue/data?session_hash=x"),
                ("GET", "/heartbeat/x"), ("POST", "/call/generate"), ("GET", "/call/generate/x"), ("POST", "/call/v2/generate"),
                ("POST", "/run/generate"), ("POST", "/api/generate"))]
        for method, path in routes:
            for key in (None, "wrong", KEY + "x", KEY[:-1]):
                status, headers, answer = server.ask(method, path, {} if method == "POST" else None, key=key)
                self.assertEqual(status, 401, (method, path, key, answer[:200]))
        self.assertEqual(server.ask("GET", "/livez", key=None)[0], 200)

    def paths_outside(self, server):
        for path in ("/../../etc/passwd", "/..%2f..%2fetc/passwd", "/assets/../../../etc/passwd", "/assets/%2e%2e/%2e%2e/etc/passwd",
                     "/v1/jobs/..%2f..%2fetc%2fpasswd", "/assets/..\\..\\etc\\passwd", "/assets/a%00b"):
            answer = self.send(server, head("GET", path, "Connection: close"))
            self.assertIn(status_of(answer), (400, 404), path)
            self.assertNotIn(b"root:", answer)

    def queue_flood(self, server):
        """10,000 images asked for: some wait, the others are told when to come back, and none is lost."""
        accepted, rejected = [], 0
        for _ in range(10_000 // 50):
            status, headers, answer = server.ask("POST", "/v1/jobs", generation(num_images=50))
            if status == 202:
                accepted.append(json.loads(answer)["id"])
            else:
                self.assertEqual(status, 429, answer)
                self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                rejected += 1
        self.assertGreater(rejected, 0)
        self.assertGreater(len(accepted), 0)
        for job in accepted:
            self.assertEqual(self.when_over(server, job)["state"], "succeeded")

    def when_over(self, server, job, patience=120):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            found = json.loads(server.ask("GET", f"/v1/jobs/{job}")[2])
            if found.get("state") not in ("queued", "running"):
                return found
            time.sleep(0.05)
        self.fail(f"job {job} is not over: {found}")

    def cancel_storm(self, server):
        jobs = [json.loads(server.ask("POST", "/v1/jobs", generation(num_images=4, sampler={"kind": "ddpm", "steps": 50}))[2])["id"]
                for _ in range(40)]
        threads = [threading.Thread(target=server.ask, args=("DELETE", f"/v1/jobs/{job}")) for job in jobs for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for job in jobs:
            status, _, answer = server.ask("GET", f"/v1/jobs/{job}")
            if status == 200:
                self.assertIn(self.when_over(server, job)["state"], ("cancelled", "succeeded"))
            else:  # cancelled by one, forgotten by the next
                self.assertEqual(status, 404, answer)

    def clients_that_leave(self, server):
        for _ in range(20):
            connection = server.raw()
            body = json.dumps(generation(num_images=16, sampler={"kind": "ddpm", "steps": 50})).encode()
            connection.sendall(head("POST", "/v1/generate", "Content-Type: application/json", f"Content-Length: {len(body)}") + body)
            connection.close()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            metrics = server.ask("GET", "/metrics")[2].decode()
            if re.search(r"^ddpm_engine_open_images 0$", metrics, re.M):
                return
            time.sleep(0.1)
        self.fail("images are drawn for clients that left")

    def test_sigterm_under_load_answers_what_was_begun(self):
        server = self.serve("--drain-seconds", 30)
        answers = []

        def draw(seed):
            try:
                answers.append(server.ask("POST", "/v1/generate", generation(seed=seed, sampler={"kind": "ddpm", "steps": 50}))[0])
            except OSError as error:
                answers.append(str(error))
        threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        server.process.wait(timeout=40)
        self.assertEqual(len(answers), 16)
        for answer in answers:
            self.assertTrue(answer in (200, 503) or isinstance(answer, str), answers)
        self.assertGreater(answers.count(200), 0)
        self.assertIn(server.process.returncode, (0, 143))

    def test_sigkill_and_restart_loses_no_job(self):
        state = self.folder / "jobs.sqlite"
        server = self.serve("--state", state)
        done = json.loads(server.ask("POST", "/v1/jobs", generation(seed=5))[2])["id"]
        self.assertEqual(self.when_over(server, done)["state"], "succeeded")
        picture = server.ask("GET", f"/v1/jobs/{done}/images/0.png")[2]
        open_jobs = [json.loads(server.ask("POST", "/v1/jobs", generation(seed=seed, num_images=16,
                                                                          sampler={"kind": "ddpm", "steps": 50}))[2])["id"]
                     for seed in range(4)]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        again = Server(self.folder / "models", "--state", state)
        again.addCleanup = self.addCleanup
        self.addCleanup(again.stop)
        self.assertEqual(again.ask("GET", f"/v1/jobs/{done}/images/0.png")[2], picture)
        for job in open_jobs:
            found = self.when_over(again, job)
            self.assertIn(found["state"], ("succeeded", "failed"), found)
            if found["state"] == "failed":
                self.assertEqual(found["error"]["code"], "interrupted", found)


if __name__ == "__main__":
    program.main()
