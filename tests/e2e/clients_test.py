"""ddpm serve as clients that others wrote call it: Gradio's and OpenAI's, in Python and JavaScript, and curl.

`scripts/setup --test` installs them below .clients; one that is not there is skipped by name.
"""
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
import unittest

import program
from serve_test import Server

ROOT = pathlib.Path(__file__).resolve().parents[2]
TALKS = ROOT / "tests/e2e/clients"
INSTALLED = pathlib.Path(os.environ.get("DDPM_CLIENTS", ROOT / ".clients"))
KEY = "clients-test-key-0123456789"


def answers(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


class ClientsTest(program.ProgramTest):
    """Each client once without and once with a key."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        trainer = cls.trainer_of_class()
        # 48 images in 50 steps take it over a second: a client that is slow to listen still sees some on the way.
        trainer.train_tiny("models/shapes", "data.max_images=32", "model.unet2d.block_out_channels=[32, 64]")
        cls.folder = trainer.folder
        cls.open = Server(trainer.folder)
        cls.locked = Server(trainer.folder, environment={"DDPM_API_KEY": KEY})
        for server in (cls.open, cls.locked):
            cls.addClassCleanup(server.stop)

    def setUp(self):
        pass  # one folder for all: they only read it

    def talk(self, *command, **options):
        """Runs a client against both servers; it asserts by itself, and tells what it saw."""
        for server, key in ((self.open, []), (self.locked, [KEY])):
            arguments = [*map(str, command), f"http://127.0.0.1:{server.port}", *key]
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, **options)
            self.assertEqual(done.returncode, 0, f"{arguments}: {done.stdout[-1000:]} {done.stderr[-3000:]}")
            self.assertTrue(json.loads(done.stdout.strip().splitlines()[-1]))

    def python(self, name):
        interpreter = INSTALLED / name / "bin/python"
        if not interpreter.exists():
            self.skipTest(f"{name} is not installed below {INSTALLED}: run scripts/setup --test")
        return interpreter

    def node(self, script):
        """The script beside its packages: Node looks for them from where it lies."""
        modules = INSTALLED / "node/node_modules"
        if shutil.which("node") is None or not modules.exists():
            self.skipTest(f"node's packages are not installed below {INSTALLED}: run scripts/setup --test")
        folder = self.folder / "node"
        folder.mkdir(exist_ok=True)
        if not (folder / "node_modules").exists():
            (folder / "node_modules").symlink_to(modules)
        shutil.copy(TALKS / script, folder / script)
        return "node", folder / script

    def test_gradio_for_python(self):
        self.talk(self.python("python"), TALKS / "gradio_client_talk.py")

    def test_gradio_4_for_python(self):
        self.talk(self.python("gradio4"), TALKS / "gradio_client_talk.py")

    def test_openai_for_python(self):
        self.talk(self.python("python"), TALKS / "openai_talk.py")

    def test_gradio_for_javascript(self):
        self.talk(*self.node("gradio_client_talk.mjs"))

    def test_openai_for_javascript(self):
        self.talk(*self.node("openai_talk.mjs"))

    def test_the_gradio_page(self):
        """integrations/gradio_app.py, between Gradio's client and the server."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        python = self.python("python")
        with open(self.folder / "page.log", "w+") as log:
            page = subprocess.Popen(
                [python, ROOT / "integrations/gradio_app.py", "--server", f"http://127.0.0.1:{self.locked.port}", "--port", str(port)],
                stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "DDPM_API_KEY": KEY, "GRADIO_ANALYTICS_ENABLED": "False"})
            try:
                deadline = time.monotonic() + 60
                while not answers(port) and page.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.1)
                done = subprocess.run([python, TALKS / "gradio_app_talk.py", f"http://127.0.0.1:{port}",
                                       f"http://127.0.0.1:{self.locked.port}", KEY],
                                      capture_output=True, text=True, timeout=120)
            finally:
                page.terminate()
                page.wait(30)
            log.seek(0)
            self.assertEqual(done.returncode, 0, f"{done.stderr[-3000:]} {log.read()[-2000:]}")
        self.assertTrue(json.loads(done.stdout.strip().splitlines()[-1]))

    def curl(self, server, path, *arguments):
        done = subprocess.run(["curl", "-sSfN", "--max-time", "60", f"http://127.0.0.1:{server.port}{path}", *arguments],
                              capture_output=True, timeout=90)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    @unittest.skipIf(shutil.which("curl") is None, "curl is not installed")
    def test_curl(self):
        bearer = ["-H", f"Authorization: Bearer {KEY}"]
        to_json = ["-H", "Content-Type: application/json", "-d"]
        body = json.dumps({"data": ["shapes", 1, 7, 5, "ddim"]})
        event = json.loads(self.curl(self.locked, "/gradio_api/call/generate", *bearer, *to_json, body))["event_id"]
        told = self.curl(self.locked, f"/gradio_api/call/generate/{event}", *bearer).decode()
        self.assertTrue(told.rstrip().splitlines()[-2] == "event: complete", told)
        image = json.loads(told.rstrip().splitlines()[-1].removeprefix("data: "))[0][0]["image"]
        # The image's address is the secret: as a browser's <img> it shows no key.
        png = self.curl(self.locked, "/gradio_api/file=" + image["path"])
        self.assertEqual(png, self.curl(self.locked, "/v1/generate", *bearer, *to_json, json.dumps(
            {"seed": 7, "sampler": {"kind": "ddim", "steps": 5}})))
        named = json.loads(self.curl(self.open, "/gradio_api/call/v2/generate", *to_json, json.dumps({"seed": 7, "n": 1})))
        self.assertIn("event: complete", self.curl(self.open, f"/gradio_api/call/v2/generate/{named['event_id']}").decode())
        streamed = self.curl(self.open, "/v1/images/generations", *to_json, json.dumps(
            {"prompt": "", "stream": True, "partial_images": 1, "sampler": {"kind": "ddpm"}})).decode()
        self.assertIn("event: image_generation.completed", streamed)


if __name__ == "__main__":
    program.main()
