"""What stands beside the native API of `ddpm serve`: edits and the forward process of uploads, health, metrics, and jobs
that outlive the server."""
import base64
import http.client
import json
import os
import re
import resource
import signal
import subprocess
import time

import edit_test
import program

KEY = "uploads-test-key-0123456789"


class Server:
    """A running `ddpm serve` of the folder's models on a free port."""

    def __init__(self, folder, *flags, **options):
        self.log = folder / f"serve-{time.monotonic_ns()}.log"
        environment = os.environ | {"DDPM_API_KEY": KEY}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [program.DDPM, "serve", folder / "models", "--port", "0", "--threads", "1", *map(str, flags)],
                env=environment, stdout=log, stderr=subprocess.STDOUT, **options)
        self.port = None
        deadline = time.monotonic() + 60
        while self.port is None:
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", self.log.read_text())
            if found:
                self.port = int(found[1])
            elif self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start: {self.log.read_text()}")
            time.sleep(0.02)

    def ask(self, method, path, body=None, media_type="application/json", key=KEY):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["Content-Type"] = media_type
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, answer.headers

    def json(self, method, path, body=None):
        status, content, _ = self.ask(method, path, None if body is None else json.dumps(body))
        return status, json.loads(content)

    def post_form(self, path, fields, files):
        parts = [f'--bound\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
                 for name, value in fields.items()]
        for name, content in files:
            head = f'--bound\r\nContent-Disposition: form-data; name="{name}"; filename="f.png"\r\nContent-Type: image/png\r\n\r\n'
            parts.append(head.encode() + content + b"\r\n")
        return self.ask("POST", path, b"".join(parts) + b"--bound--\r\n", "multipart/form-data; boundary=bound")

    def wait(self, job, *states):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            status, shown = self.json("GET", f"/v1/jobs/{job}")
            if status != 200 or shown["state"] in states:
                return shown
            time.sleep(0.02)
        raise AssertionError(f"the job is still {shown['state']}")

    def metric(self, series):
        text = self.ask("GET", "/metrics")[1].decode()
        return float(re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)[1])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


class ServeTest(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.train_tiny("models/tiny")
        self.state = self.folder / "jobs.db"

    def serve(self, *flags, **options):
        server = Server(self.folder, *flags, **options)
        self.addCleanup(server.kill)
        return server


class UploadTest(ServeTest):
    def test_edits_are_those_of_ddpm_edit(self):
        photo = edit_test.png_bytes(8, 8, 1, lambda x, y: [20 * x + 10 * y])
        other = edit_test.png_bytes(20, 10, 3, lambda x, y: [12 * x, 20 * y, 128])
        mask = edit_test.png_bytes(8, 8, 1, lambda x, y: [255 if x >= 4 else 0])
        small = edit_test.png_bytes(4, 4, 1, lambda x, y: [40 + 30 * x + 10 * y])
        for name, content in {"photo": photo, "other": other, "mask": mask, "small": small}.items():
            self.write(f"{name}.png", content)
        server = self.serve()
        for kind, sources, flags, fields in (
                ("inpaint", ["photo", "mask"], ["--steps", 10, "--jump-length", 3, "--resamples", 2],
                 {"sampler.steps": 10, "jump_length": 3, "resamples": 2}),
                ("superres", ["small"], ["--factor", 2], {"factor": 2}),
                ("img2img", ["other"], ["--strength", 0.4, "--fit", "pad"], {"strength": 0.4, "fit": "pad"}),
                ("img2img", ["photo"], ["--sampler", "dpmpp_2m", "--steps", 7], {"sampler.kind": "dpmpp_2m", "sampler.steps": 7}),
                ("interpolate", ["photo", "other"], ["--frames", 2], {"frames": 2})):
            with self.subTest(kind=kind, fields=fields):
                is_path = kind == "interpolate"
                seed = [] if is_path else ["--seed", 5]
                self.run_ok("edit", kind, "models/tiny", *(f"{name}.png" for name in sources), *flags, *seed, "-o", "edited",
                            "-q", "--threads", 1)
                files = [("mask" if name == "mask" else "image", (self.folder / f"{name}.png").read_bytes()) for name in sources]
                status, content, headers = server.post_form(f"/v1/edits/{kind}", fields | ({} if is_path else {"seed": 5}), files)
                self.assertEqual(status, 200, content)
                pictures = [content]
                if is_path:
                    pictures = [base64.b64decode(image["b64"]) for image in json.loads(content)["images"]]
                else:
                    self.assertEqual(headers["X-Seed"], "5")
                for i, picture in enumerate(pictures):
                    served = edit_test.read_png(self.write("served.png", picture))
                    drawn = edit_test.read_png(self.folder / f"edited/{i:06}.png")
                    self.assertEqual(served[3], drawn[3], "pixels")
                    self.assertEqual(served[4]["ddpm.edit"], kind)
                    self.assertEqual(served[4]["ddpm.sampler"], drawn[4]["ddpm.sampler"])
                    self.assertEqual(served[4]["ddpm.steps"], drawn[4]["ddpm.steps"])
                for path in (self.folder / "edited").iterdir():
                    path.unlink()
                (self.folder / "edited").rmdir()
        status, content, _ = server.post_form("/v1/edits/colorize", {}, [("image", photo)])
        self.assertEqual((status, json.loads(content)["error"]["field"]), (422, "model"))
        self.assertEqual(server.metric('ddpm_edits_total{kind="img2img",outcome="done"}'), 2)

    def test_a_model_trained_to_enlarge_is_asked_as_ddpm_edit_does(self):
        self.train_tiny("models/enlarger", "train.super_resolution=2", "train.self_conditioning=true")
        photo = edit_test.png_bytes(9, 5, 3, lambda x, y: [25 * x, 40 * y, 128])
        self.write("photo.png", photo)
        self.run_ok("edit", "superres", "models/enlarger", "photo.png", "--steps", 8, "--seed", 5, "-n", 2, "-o", "large", "-q",
                    "--threads", 1)
        server = self.serve()
        own = {model["id"]: model["ddpm"] for model in server.json("GET", "/v1/models")[1]["data"]}["enlarger"]
        self.assertEqual((own["super_resolution"], own["self_conditioning"], own["image_shape"]), (2, True, [1, 8, 8]))
        fields = {"model": "enlarger", "seed": 5, "num_images": 2, "sampler.steps": 8}
        status, content, _ = server.post_form("/v1/edits/superres", fields, [("image", photo)])
        self.assertEqual(status, 200, content)
        for i, image in enumerate(json.loads(content)["images"]):
            served = edit_test.read_png(self.write("served.png", base64.b64decode(image["b64"])))
            drawn = edit_test.read_png(self.folder / f"large/{i:06}.png")
            self.assertEqual(served[3], drawn[3], "pixels")
            for key in ("ddpm.edit", "ddpm.factor", "ddpm.sampler", "ddpm.steps", "ddpm.seed"):
                self.assertEqual(served[4][key], drawn[4][key])
        for path, refused in (("/v1/edits/img2img", {"model": "enlarger"}), ("/v1/edits/superres", fields | {"resamples": 2})):
            status, content, _ = server.post_form(path, refused, [("image", photo)])
            self.assertEqual(status, 422, content)
        status, error = server.json("POST", "/v1/generate", {"model": "enlarger"})
        self.assertEqual((status, error["error"]["field"]), (422, "model"))

    def test_colorize_keeps_the_mean_of_the_channels_and_is_that_of_ddpm_edit(self):
        self.train_tiny("models/colour", "data.channels=3")
        photo = edit_test.png_bytes(8, 8, 1, lambda x, y: [20 * x + 10 * y])
        self.write("photo.png", photo)
        flags = ["--steps", 12, "--seed", 5, "-n", 2, "-o", "colours", "-q", "--threads", 1]
        self.run_ok("edit", "colorize", "models/colour", "photo.png", *flags)
        fields = {"model": "colour", "seed": 5, "num_images": 2, "sampler.steps": 12}
        server = self.serve()
        status, content, _ = server.post_form("/v1/edits/colorize", fields, [("image", photo)])
        self.assertEqual(status, 200, content)
        pictures = [base64.b64decode(image["b64"]) for image in json.loads(content)["images"]]
        one = server.post_form("/v1/edits/colorize", fields | {"num_images": 1}, [("image", photo)])
        self.assertEqual((one[0], one[2]["Content-Type"], one[2]["X-Seed"]), (200, "image/png", "5"))
        self.assertEqual(len(pictures), 2)
        self.assertEqual(server.metric('ddpm_edits_total{kind="colorize",outcome="done"}'), 2)
        source = edit_test.read_png(self.folder / "photo.png")[3]
        for i, picture in enumerate(pictures):
            width, height, channels, rows, text = edit_test.read_png(self.write("served.png", picture))
            self.assertEqual((width, height, channels), (8, 8, 3))
            self.assertEqual(rows, edit_test.read_png(self.folder / f"colours/{i:06}.png")[3])
            self.assertEqual((text["ddpm.edit"], text["ddpm.seed"], text["ddpm.steps"]), ("colorize", "5", "12"))
            pixels = [(rows[y][3 * x:3 * x + 3], source[y][x]) for y in range(8) for x in range(8)]
            shown = [(pixel, grey) for pixel, grey in pixels if min(pixel) > 0 and max(pixel) < 255]
            self.assertGreater(len(shown), 16)  # in the others a channel was cut to what can be shown
            for pixel, grey in shown:
                self.assertAlmostEqual(sum(pixel) / 3, grey, delta=0.51)  # each channel is rounded
            self.assertTrue(any(len(set(pixel)) > 1 for pixel, _ in shown), "colours")

    def test_forward_health_and_metrics(self):
        server = self.serve()
        photo = edit_test.png_bytes(30, 20, 3, lambda x, y: [8 * x, 12 * y, 128])
        status, content, _ = server.post_form("/v1/forward", {"t": "-1,100", "size": 16, "seed": 1}, [("image", photo)])
        self.assertEqual(status, 200, content)
        self.assertEqual([frame["t"] for frame in json.loads(content)["frames"]], [-1, 100])
        self.assertEqual(server.ask("GET", "/livez", key=None)[0], 200)
        self.assertEqual(server.ask("GET", "/readyz", key=None)[0], 200)
        self.assertEqual(server.ask("GET", "/metrics", key=None)[0], 401)
        self.assertEqual(server.metric('ddpm_http_requests_total{route="/v1/forward",code="200"}'), 1)
        self.assertIn("text/html", server.ask("GET", "/", key=None)[2]["Content-Type"])
        self.assertEqual(server.stop(), 0)


class KeptJobsTest(ServeTest):
    REQUEST = {"model": "tiny", "seed": 3, "num_images": 2, "sampler": {"kind": "ddim", "steps": 10}}
    # Takes seconds: about 1000 network calls of 8 images.
    LONG = {"model": "tiny", "seed": 4, "num_images": 8,
            "sampler": {"kind": "heun", "steps": 500, "levels": "karras"}}

    def submit(self, server, body):
        status, job = server.json("POST", "/v1/jobs", body)
        self.assertEqual(status, 202, job)
        return job["id"]

    def images(self, server, job):
        shown = server.wait(job, "succeeded", "failed")
        self.assertEqual(shown["state"], "succeeded", shown)
        return [server.ask("GET", image["url"])[1] for image in shown["images"]]

    def test_a_killed_server_loses_no_result_and_draws_anew_what_it_had_begun(self):
        server = self.serve("--state", self.state)
        done = self.submit(server, self.REQUEST)
        images = self.images(server, done)
        self.assertEqual(len(images), 2)
        begun = self.submit(server, self.LONG)
        waiting = self.submit(server, self.REQUEST | {"seed": 9})
        server.wait(begun, "running")
        server.kill()

        server = self.serve("--state", self.state)
        self.assertEqual(self.images(server, done), images)
        self.assertEqual(len(self.images(server, waiting)), 2)
        again = self.images(server, begun)
        self.assertEqual(len(again), 8)
        self.assertEqual(again, self.images(server, self.submit(server, self.LONG)), "the same seed, the same images")
        self.assertEqual(server.stop(), 0)
        self.assertEqual(self.state.stat().st_mode & 0o077, 0)

        server = self.serve("--state", self.state)
        self.assertEqual(self.images(server, begun), again)

    def test_a_job_that_is_killed_twice_while_it_is_drawn_has_failed(self):
        server = self.serve("--state", self.state)
        begun = self.submit(server, self.LONG)
        for _ in range(2):
            server.wait(begun, "running")
            time.sleep(0.2)  # the file is told a moment later
            server.kill()
            server = self.serve("--state", self.state)
        shown = server.wait(begun, "failed", "succeeded")
        self.assertEqual((shown["state"], shown["error"]["code"]), ("failed", "interrupted"))

    def test_a_shutdown_that_does_not_wait_leaves_jobs_to_the_next_server(self):
        server = self.serve("--state", self.state, "--drain-seconds", 0)
        begun = self.submit(server, self.LONG)
        for _ in range(3):
            server.wait(begun, "running")
            self.assertEqual(server.stop(), 128 + signal.SIGTERM)
            checked = program.run("serve", "models", "--port", 0, "--state", self.state, "--check", cwd=self.folder)
            self.assertEqual(checked.returncode, 0, checked.stderr)
            server = self.serve("--state", self.state, "--drain-seconds", 0)
        self.assertEqual(len(self.images(server, begun)), 8)

    def test_a_full_disk_costs_no_request(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
        self.serve("--state", self.state).stop()
        server = self.serve("--state", self.state, preexec_fn=limit)
        for seed in range(20):
            self.assertEqual(len(self.images(server, self.submit(server, self.REQUEST | {"seed": seed, "num_images": 16}))), 16)
        self.assertGreater(server.metric("ddpm_job_store_failed_writes_total"), 0)
        self.assertEqual(server.log.read_text().count("may not outlive"), 1)
        server.kill()
        server = self.serve("--state", self.state)
        status, jobs = server.json("GET", "/v1/jobs?limit=50")
        self.assertEqual(status, 200)
        for job in jobs["data"]:
            self.assertEqual(len(self.images(server, job["id"])), 16)

    def test_a_damaged_file_is_moved_aside(self):
        server = self.serve("--state", self.state)
        self.images(server, self.submit(server, self.REQUEST))
        server.stop()
        content = bytearray(self.state.read_bytes())
        content[4096:3 * 4096] = bytes(2 * 4096)
        self.state.write_bytes(content)
        server = self.serve("--state", self.state)
        self.assertIn("is damaged", server.log.read_text())
        self.assertEqual(len(list(self.folder.glob("jobs.db.damaged-*"))), 1)
        self.images(server, self.submit(server, self.REQUEST))

    def test_a_file_that_another_server_has_is_refused(self):
        self.serve("--state", self.state)
        second = program.run("serve", "models", "--port", 0, "--state", self.state, cwd=self.folder)
        self.assertEqual(second.returncode, 1, second.stderr)
        self.assertIn("another process has it open", second.stderr)
        absent = program.run("serve", "models", "--port", 0, "--state", "absent/jobs.db", cwd=self.folder)
        self.assertEqual(absent.returncode, 1, absent.stderr)


if __name__ == "__main__":
    program.main()
