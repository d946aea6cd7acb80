"""ddpm serve: the real program, a tiny model, and a client of Python's standard library."""
import base64
import contextlib
import http.client
import io
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
import unittest

import numpy
import PIL.Image

import program

KEY = "serve-test-key-0123456789"
# The engine draws in other batches than `ddpm sample`, so convolutions add in another order: a pixel may round the other way.
TOLERANCE = 1


class Server:
    """A running `ddpm serve` on a free port."""

    def __init__(self, folder, *arguments, models="models", environment=None):
        self.log = open(folder / "serve.log", "ab+")
        self.process = subprocess.Popen(
            [program.DDPM, "serve", models, "--port", "0", "--threads", "1", *map(str, arguments)], cwd=folder,
            stdout=subprocess.PIPE, stderr=self.log, text=True, env={**os.environ, **(environment or {})})
        readable, _, _ = select.select([self.process.stdout], [], [], 60)
        line = self.process.stdout.readline() if readable else ""
        if "http://" not in line:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"no address in {line!r}: {(folder / 'serve.log').read_text()[-2000:]}")
        self.port = int(line.rsplit(":", 1)[1].strip().rstrip("/"))

    def ask(self, method, path, body=None, **headers):
        """Status, headers and bytes of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            data = None if body is None else json.dumps(body)
            if data is not None:
                headers.setdefault("Content-Type", "application/json")
            connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def json(self, method, path, body=None, **headers):
        status, _, data = self.ask(method, path, body, **headers)
        return status, json.loads(data)

    def submit(self, body):
        status, job = self.json("POST", "/v1/jobs", body)
        assert status == 202, job
        return job

    def wait(self, job_id, patience_s=60):
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            status, job = self.json("GET", f"/v1/jobs/{job_id}")
            assert status == 200, job
            if job["finished_at"]:
                return job
            time.sleep(0.02)
        raise AssertionError(f"job {job_id} is not over")

    def stop(self, with_signal=signal.SIGTERM, timeout=60):
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        code = self.process.wait(timeout)
        self.process.stdout.close()
        self.log.close()
        return code


def pixels(png):
    return numpy.asarray(PIL.Image.open(io.BytesIO(png))).astype(int)


class ServeTest(program.ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        trainer = cls.trainer_of_class()
        trainer.train_tiny("models/shapes", "data.max_images=32")
        cls.trained = trainer.folder

    def setUp(self):
        super().setUp()
        (self.folder / "models").mkdir()
        (self.folder / "models/shapes").symlink_to(self.trained / "models/shapes")

    def serve(self, *arguments, **options):
        server = Server(self.folder, *arguments, **options)
        self.addCleanup(lambda: server.process.poll() is None and server.stop(signal.SIGKILL))
        return server

    def check_images(self, server, job, *flags):
        """That a job's images, four of seed 7, are those of `ddpm sample` with these flags."""
        drawn = f"drawn-{job['id']}"
        self.run_ok("sample", "models/" + job["model"], "-n", 4, "--seed", 7, *flags, "-o", drawn, "-q")
        images = server.wait(job["id"])["images"]
        self.assertEqual(len(images), 4)
        for i, image in enumerate(images):
            _, headers, served = server.ask("GET", image["url"])
            self.assertEqual(headers["Content-Type"], "image/png")
            program_png = (self.folder / f"{drawn}/{i:06d}.png").read_bytes()
            self.assertLessEqual(abs(pixels(served) - pixels(program_png)).max(), TOLERANCE)
            text, expected = PIL.Image.open(io.BytesIO(served)).text, PIL.Image.open(io.BytesIO(program_png)).text
            for key, value in expected.items():
                self.assertEqual(text[key], value, key)

    def test_images_are_those_of_ddpm_sample(self):
        server = self.serve()
        job = server.submit({"model": "shapes", "num_images": 4, "seed": 7, "sampler": {"kind": "dpmpp_2m", "steps": 12}})
        self.check_images(server, job, "--sampler", "dpmpp_2m", "--steps", 12)
        self.assertEqual(server.stop(), 0)

    def test_a_self_conditioned_models_images_are_those_of_ddpm_sample(self):
        self.train_tiny("models/guessing", "train.self_conditioning=true", "train.class_conditional=true", "train.class_dropout=0.2")
        server = self.serve()
        body = {"model": "guessing", "num_images": 4, "seed": 7}
        guided = {"scale": 2, "interval": [0.3, 3]}
        jobs = [server.submit({**body, "sampler": {"kind": "dpmpp_2m", "steps": 12}, "guidance": guided}),
                server.submit({**body, "sampler": {"kind": "ddpm", "steps": 20}})]  # both in the same batches
        self.check_images(server, jobs[0], "--sampler", "dpmpp_2m", "--steps", 12, "--guidance", 2, "--guidance-interval", "0.3,3")
        self.check_images(server, jobs[1], "--sampler", "ddpm", "--steps", 20)
        status, answer = server.json("POST", "/v1/jobs", {**body, "sampler": {"kind": "heun", "levels": "karras"}})
        self.assertEqual((status, answer["error"]["field"]), (422, "sampler"))
        self.assertIn("whole timesteps for a self-conditioned model, got heun with levels karras", answer["error"]["message"])

    def test_generate_answers_with_the_image(self):
        server = self.serve()
        request = {"seed": 3, "sampler": {"steps": 5}}  # one model: it needs no name
        status, headers, png = server.ask("POST", "/v1/generate", request)
        self.assertEqual((status, headers["X-Seed"]), (200, "3"))
        self.assertEqual(pixels(png).shape, (8, 8))
        status, answer = server.json("POST", "/v1/generate", {**request, "num_images": 2, "format": "npz"})
        arrays = numpy.load(io.BytesIO(base64.b64decode(answer["images"][0]["b64"])))
        self.assertEqual(arrays["arr_0"].shape, (1, 8, 8, 1))
        self.assertLessEqual(abs(arrays["arr_0"][0, :, :, 0].astype(int) - pixels(png)).max(), TOLERANCE)

    def test_the_page_and_health_are_there(self):
        server = self.serve()
        status, headers, page = server.ask("GET", "/")
        self.assertEqual((status, headers["Content-Type"].split(";")[0]), (200, "text/html"))
        self.assertEqual(server.ask("GET", "/livez")[0], 200)
        self.assertEqual(server.ask("GET", "/readyz")[0], 200)
        self.assertIn(b"ddpm_", server.ask("GET", "/metrics")[2])

    def test_events_follow_a_job(self):
        server = self.serve()
        job = server.submit({"num_images": 2, "sampler": {"kind": "ddpm"}, "previews": True, "trace": 4})
        _, headers, stream = server.ask("GET", job["links"]["events"])
        self.assertEqual(headers["Content-Type"], "text/event-stream")
        names = [line[7:] for line in stream.decode().splitlines() if line.startswith("event: ")]
        self.assertEqual(names.count("image"), 2)
        self.assertEqual(names.count("trace"), 4)
        self.assertEqual(names[-1], "end")
        _, _, frame = server.ask("GET", f"/v1/jobs/{job['id']}/trace/0/x_t.png")
        self.assertEqual(pixels(frame).shape, (8, 8))

    def test_a_wrong_key_opens_no_route(self):
        self.write("keys.txt", f"# ours\n{KEY}\n")
        server = self.serve("--key-file", "keys.txt", "--host", "0.0.0.0")
        self.assertEqual(server.ask("GET", "/v1/models", Authorization=f"Bearer {KEY}")[0], 200)
        self.assertEqual(server.ask("GET", "/v1/models", X_Api_Key=KEY)[0], 200)
        routes = [("GET", "/v1/models"), ("GET", "/v1/models/shapes"), ("GET", "/v1/capabilities"), ("GET", "/v1/jobs"),
                  ("POST", "/v1/jobs"), ("POST", "/v1/generate"), ("GET", "/v1/jobs/a"), ("DELETE", "/v1/jobs/a"),
                  ("GET", "/v1/jobs/a/events"), ("GET", "/v1/jobs/a/images/0.png"), ("GET", "/v1/jobs/a/trace/0/x_t.png"),
                  ("GET", "/metrics"), ("POST", "/v1/forward"), ("POST", "/v1/edits/inpaint"), ("POST", "/v1/edits/img2img")]
        for method, path in routes:
            for headers in ({}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": KEY}, {"X_Api_Key": KEY[:-1]}):
                body = {} if method == "POST" else None
                self.assertEqual(server.ask(method, path, body, **headers)[0], 401, f"{method} {path} {headers}")

    def test_others_are_served_only_with_a_key(self):
        done = program.run("serve", "models", "--host", "0.0.0.0", "--port", 0, cwd=self.folder)
        self.assertEqual(done.returncode, 2)
        self.assertIn("key", done.stderr)
        self.assertEqual(done.stdout, "")
        server = self.serve("--host", "0.0.0.0", environment={"DDPM_API_KEY": KEY})
        self.assertEqual(server.ask("GET", "/v1/models")[0], 401)

    def test_sigterm_finishes_what_is_open(self):
        server = self.serve()
        answers = []
        client = threading.Thread(target=lambda: answers.append(server.ask(
            "POST", "/v1/generate", {"num_images": 16, "sampler": {"kind": "ddpm"}})))
        client.start()
        while not server.json("GET", "/v1/jobs")[1]["data"]:
            time.sleep(0.005)
        self.assertEqual(server.stop(signal.SIGTERM), 0)
        client.join()
        self.assertEqual(answers[0][0], 200)
        self.assertEqual(len(json.loads(answers[0][2])["images"]), 16)
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5).close()

    def test_what_takes_too_long_is_cut_short_and_told(self):
        server = self.serve("--drain-seconds", 0)
        job = server.submit({"num_images": 64, "sampler": {"kind": "ddpm"}})
        events = []
        reader = threading.Thread(target=lambda: events.append(server.ask("GET", job["links"]["events"])[2].decode()))
        reader.start()
        time.sleep(0.1)
        self.assertEqual(server.stop(signal.SIGINT), 130)
        reader.join()
        self.assertIn('"code":"draining"', events[0])

    def test_sighup_reads_the_models_again(self):
        server = self.serve()
        ids = lambda: [model["id"] for model in server.json("GET", "/v1/models")[1]["data"]]
        self.assertEqual(ids(), ["shapes"])
        (self.folder / "models/more").symlink_to(self.trained / "models/shapes")
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while ids() != ["more", "shapes"] and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(ids(), ["more", "shapes"])
        self.assertEqual(server.ask("POST", "/v1/generate", {"model": "more", "sampler": {"steps": 3}})[0], 200)
        (self.folder / "models/more").unlink()
        server.process.send_signal(signal.SIGHUP)
        while ids() != ["shapes"] and time.monotonic() < deadline:
            time.sleep(0.05)
        status, error = server.json("POST", "/v1/jobs", {"model": "more"})
        self.assertEqual((status, error["error"]["code"]), (404, "unknown_model"))

    def test_jobs_outlive_the_server(self):
        server = self.serve("--state", "jobs.db")
        job = server.submit({"seed": 5, "sampler": {"steps": 4}})
        before = server.wait(job["id"])
        image = server.ask("GET", before["images"][0]["url"])[2]
        server.stop(signal.SIGKILL)
        server = self.serve("--state", "jobs.db")
        after = server.json("GET", f"/v1/jobs/{job['id']}")[1]
        self.assertEqual(after["request"], before["request"])
        self.assertEqual(server.ask("GET", after["images"][0]["url"])[2], image)

    def test_results_are_forgotten_though_nobody_asks_for_more(self):
        server = self.serve("--keep-seconds", 1)
        job = server.wait(server.submit({"sampler": {"steps": 3}})["id"])
        deadline = time.monotonic() + 20
        while server.ask("GET", job["images"][0]["url"])[0] == 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(server.ask("GET", job["links"]["self"])[0], 404)
        self.assertIn("ddpm_job_result_bytes 0", server.ask("GET", "/metrics")[2].decode().splitlines())
        self.assertEqual(server.stop(), 0)

    def test_check_says_whether_it_would_run(self):
        done = self.run_ok("serve", "models", "--check", "--port", 0, "--threads", 1)
        self.assertIn("shapes: ok", done.stdout)
        self.assertIn("free", done.stdout)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = program.run("serve", "models", "--check", "--port", taken.getsockname()[1], cwd=self.folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn("in use", done.stderr)

    def test_mistakes_are_named(self):
        (self.folder / "empty").mkdir()
        for arguments, code, text in [(["absent"], 2, "expected a folder of models"), (["empty"], 1, "at least one model"),
                                      (["models", "--port", 70000], 2, "--port"), (["models", "--max-queue", 0], 2, "--max-queue"),
                                      (["models", "--key-file", "absent"], 1, "absent"),
                                      (["models", "--allow-origin", "nonsense"], 2, "nonsense")]:
            done = program.run("serve", *arguments, cwd=self.folder)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(text, done.stderr)

    def test_a_unix_socket_serves_its_owner(self):
        log = open(self.folder / "serve.log", "w")
        process = subprocess.Popen([program.DDPM, "serve", "models", "--unix-socket", "s", "--threads", "1"], cwd=self.folder,
                                   stdout=subprocess.PIPE, stderr=log, text=True)
        self.addCleanup(log.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        self.assertIn("unix:s", process.stdout.readline())
        self.assertEqual(os.stat(self.folder / "s").st_mode & 0o077, 0)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(self.folder / "s"))
            client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer[:200])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 0)


if __name__ == "__main__":
    program.main()
