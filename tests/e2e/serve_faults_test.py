"""What `ddpm serve` does when models, disks and clients fail under it: others are served, and nobody waits in vain."""
import json
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import program
from serve_test import TOLERANCE, Server, pixels

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def with_nan(safetensors):
    """The same file with a NaN as each tensor's first number."""
    size = struct.unpack("<Q", safetensors[:8])[0]
    header, content = json.loads(safetensors[8:8 + size]), bytearray(safetensors)
    for name, tensor in header.items():
        if name != "__metadata__":
            at = 8 + size + tensor["data_offsets"][0]
            content[at:at + 4] = struct.pack("<f", float("nan"))
    return bytes(content)


class FaultsTest(program.ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        trainer = cls.trainer_of_class()
        trainer.train_tiny("first", "data.max_images=32")
        trainer.train_tiny("second", "data.max_images=32", "train.seed=5")
        cls.trained = trainer.folder

    def setUp(self):
        super().setUp()
        for name in ("good", "bad"):
            shutil.copytree(self.trained / "first/model", self.folder / "models" / name)
        self.weights = self.folder / "models/bad" / WEIGHTS
        self.sound = self.weights.read_bytes()

    def serve(self, *arguments):
        server = Server(self.folder, *arguments)
        self.addCleanup(lambda: server.process.poll() is None and server.stop(signal.SIGKILL))
        return server

    def draw(self, server, model, **more):
        """(status, bytes)"""
        status, _, content = server.ask("POST", "/v1/generate", {"model": model, "seed": 7, "sampler": {"steps": 5}, **more})
        return status, content

    def code_of(self, server, model):
        status, content = self.draw(server, model)
        error = json.loads(content)["error"]
        self.assertNotIn(str(self.folder), error["message"], "no path of the server's")
        return status, error["code"]

    def put(self, content):
        """As an installer does: a whole file in the place of the other."""
        new = self.weights.with_suffix(".new")
        new.write_bytes(content)
        new.replace(self.weights)

    def reload(self, server, fact):
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while not fact() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertTrue(fact())

    def metric(self, server, name):
        lines = server.ask("GET", "/metrics")[2].decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(name + " ")))

    def test_weights_that_are_damaged_before_they_are_read(self):
        server = self.serve()
        self.weights.write_bytes(self.sound[:len(self.sound) // 2])
        self.assertEqual(self.code_of(server, "bad"), (500, "internal"))
        job = server.wait(server.submit({"model": "bad"})["id"])
        self.assertEqual((job["state"], job["error"]["code"]), ("failed", "internal"))
        self.assertEqual(self.draw(server, "good")[0], 200)
        self.assertEqual(server.ask("GET", "/readyz")[0], 200, "the other model is served")
        refused = lambda: [model["id"] for model in server.json("GET", "/v1/models")[1]["refused"]]
        self.reload(server, lambda: refused() == ["bad"])
        self.assertEqual(self.code_of(server, "bad"), (404, "unknown_model"))
        self.put(self.sound)
        self.reload(server, lambda: refused() == [])
        self.assertEqual(self.draw(server, "bad")[0], 200)
        self.assertEqual(server.stop(), 0)

    def test_weights_that_are_damaged_while_they_are_in_memory(self):
        server = self.serve()
        before = self.draw(server, "bad")
        self.assertEqual(before[0], 200)
        self.put(self.sound[:100])
        self.assertEqual(self.draw(server, "bad"), before, "what is in memory goes on")
        self.put(bytes(len(self.sound)))
        self.assertEqual(self.draw(server, "bad"), before)
        self.assertEqual(server.stop(), 0)

    def test_weights_that_are_replaced_count_from_the_next_sighup(self):
        server = self.serve()
        before, hash_before = self.draw(server, "bad")[1], server.json("GET", "/v1/models/bad")[1]["ddpm"]["hash"]
        self.put((self.trained / "second/model" / WEIGHTS).read_bytes())
        self.assertEqual(self.draw(server, "bad")[1], before)
        long = server.submit({"model": "bad", "num_images": 32, "sampler": {"kind": "heun", "steps": 50}})
        self.reload(server, lambda: server.json("GET", "/v1/models/bad")[1]["ddpm"]["hash"] != hash_before)
        self.assertEqual(server.wait(long["id"])["state"], "succeeded", "what had begun goes on")
        after = pixels(self.draw(server, "bad")[1])
        self.run_ok("sample", "models/bad", "-n", 1, "--seed", 7, "--steps", 5, "-o", "drawn", "-q", "--threads", 1)
        self.assertLessEqual(abs(after - pixels((self.folder / "drawn/000000.png").read_bytes())).max(), TOLERANCE)
        self.assertGreater(abs(after - pixels(before)).max(), TOLERANCE)
        self.assertEqual(server.stop(), 0)

    def test_a_network_whose_answers_are_not_finite(self):
        self.put(with_nan(self.sound))
        server = self.serve()
        self.assertEqual(self.code_of(server, "bad"), (500, "non_finite"))
        job = server.wait(server.submit({"model": "bad", "num_images": 3, "previews": True, "trace": 2})["id"])
        self.assertEqual((job["state"], job["error"]["code"], job["images"]), ("failed", "non_finite", []))
        self.assertGreaterEqual(self.metric(server, "ddpm_engine_images_non_finite_total"), 4)
        self.assertEqual(self.draw(server, "good")[0], 200)
        self.assertEqual(server.ask("GET", "/readyz")[0], 200)
        self.assertEqual(server.stop(), 0)

    def test_clients_that_leave_mid_stream(self):
        """Who watches a job leaves it to others; who streams the only answer takes its images along."""
        server = self.serve()
        job = server.submit({"model": "good", "num_images": 64, "previews": True, "sampler": {"kind": "heun", "steps": 50}})
        streamed = json.dumps({"model": "good", "prompt": "", "stream": True, "partial_images": 3,
                               "sampler": {"kind": "heun", "steps": 50, "levels": "karras"}})
        watch = f"GET {job['links']['events']} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        stream = ("POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {len(streamed)}\r\n\r\n{streamed}")
        for request in [watch, stream] * 20:
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
                client.sendall(request.encode())
                self.assertIn(b"HTTP/1.1 200", client.recv(64))
        self.assertEqual(server.wait(job["id"])["state"], "succeeded")
        deadline = time.monotonic() + 30
        while self.metric(server, "ddpm_engine_open_images") > 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.metric(server, "ddpm_engine_open_images"), 0, "nothing is drawn for those who left")
        self.assertGreater(self.metric(server, 'ddpm_engine_requests_total{outcome="cancelled"}'), 0)
        self.assertEqual(server.stop(), 0)

    def test_a_disk_that_is_full(self):
        """A file system of 1 MiB for --state: no request fails, and what was kept is there after a kill."""
        disk = self.folder / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest(f"a small file system can't be mounted: {mounted.stderr.decode().strip()}")
        self.addCleanup(lambda: subprocess.run(["umount", "-l", disk], check=True))
        server = self.serve("--state", disk / "jobs.db")
        drawn = {}
        for seed in range(40):
            job = server.submit({"model": "good", "seed": seed, "num_images": 64, "sampler": {"steps": 3}})
            drawn[job["id"]] = server.wait(job["id"])
            self.assertEqual((drawn[job["id"]]["state"], len(drawn[job["id"]]["images"])), ("succeeded", 64))
        self.assertGreater(self.metric(server, "ddpm_job_store_failed_writes_total"), 0)
        last = list(drawn.values())[-1]["images"][-1]["url"]
        self.assertEqual(server.ask("GET", last)[0], 200, "memory has it")
        server.stop(signal.SIGKILL)
        (disk / "jobs.db-shm").unlink(missing_ok=True)
        server = self.serve("--state", disk / "jobs.db")
        kept = server.json("GET", "/v1/jobs?limit=100")[1]["data"]
        self.assertGreater(len(kept), 0)
        for job in kept:
            over = server.wait(job["id"])
            self.assertEqual((over["state"], over["request"]["seed"]), ("succeeded", drawn[job["id"]]["request"]["seed"]))
            self.assertEqual(server.ask("GET", over["images"][0]["url"])[0], 200)
        self.assertEqual(server.stop(), 0)

    def test_a_full_store_loses_no_job_that_nobody_has_seen(self):
        """Clients that come back late, at a store of 1 MiB: each finds its job, or was told to come again."""
        server = self.serve("--results", 1)
        ids, refused, lock = [], [], threading.Lock()

        def submit_many(number):
            for i in range(40):
                status, headers, content = server.ask("POST", "/v1/jobs", {
                    "model": "good", "seed": 100 * number + i, "num_images": 64, "sampler": {"steps": 3}, "format": "npz"})
                with lock:
                    ids.append(json.loads(content)["id"]) if status == 202 else refused.append((status, headers))
        clients = [threading.Thread(target=submit_many, args=(number,)) for number in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.assertGreater(len(ids), 2)
        self.assertGreater(len(refused), 0)
        for status, headers in refused:
            self.assertEqual(status, 429)
            self.assertTrue(1 <= int(headers["Retry-After"]) <= 15, headers)
        for job in ids:
            self.assertEqual(len(server.wait(job)["images"]), 64)
        self.assertLessEqual(self.metric(server, "ddpm_job_result_bytes"), 1 << 20)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    program.main()
