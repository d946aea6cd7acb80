"""Whether `ddpm serve` does what its /openapi.json says, by Schemathesis: requests that the document allows and forbids, at every
operation; each answer against the statuses, media types, headers and schemas that it names.

`scripts/setup --test` installs Schemathesis below .clients; without it the test is skipped.
"""
import collections
import re
import subprocess

import program
from clients_test import INSTALLED
from serve_test import Server

KEY = "openapi-test-key-0123456789"
# Every check but these:
#   use_after_free              the first DELETE cancels a job that is open, and only the second forgets it
#   object_level_authorization  needs keys of several users; here all keys see all jobs
#   positive_data_acceptance    of a POST: that guidance needs a model with a null class, or a file is a picture, no schema says
#   negative_data_rejection     of events: their one header is left alone, and others that nobody knows are no mistake in HTTP
CONFIG = """
[generation]
database = "none"

[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]  # 504, where the document has it: deadline_ms passed
use_after_free.enabled = false
object_level_authorization.enabled = false

[[operations]]
include-method = "POST"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-name = "GET /v1/jobs/{id}/events"
checks.negative_data_rejection.enabled = false

[[operations]]
include-name = "GET /v1/jobs"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 422]  # 422: `after` names a job that is not there
"""


class OpenApiTest(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.schemathesis = INSTALLED / "schemathesis/bin/schemathesis"
        if not self.schemathesis.exists():
            self.skipTest(f"Schemathesis is not installed below {INSTALLED}: run scripts/setup --test")
        # Of ten timesteps: restoring edits take each of them again and again.
        self.train_tiny("models/shapes", "data.max_images=32", "data.channels=3", "diffusion.num_timesteps=10")

    def serve(self, **options):
        server = Server(self.folder, "--max-images", 4, **options)
        self.addCleanup(server.stop)
        return server

    def check(self, server, *arguments):
        """Runs Schemathesis with the server's own document; what it finds fails the test."""
        done = subprocess.run(
            [self.schemathesis, "--config-file", self.write("schemathesis.toml", CONFIG), "run", "--no-color", "--seed", "1",
             "--request-timeout", "60", *arguments, f"http://127.0.0.1:{server.port}/openapi.json"],
            cwd=self.folder, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, f"{done.stdout[-30000:]} {done.stderr[-2000:]}")

    def test_answers_are_those_of_the_document(self):
        server = self.serve(environment={"DDPM_API_KEY": KEY})
        self.check(server, "--header", f"Authorization: Bearer {KEY}", "--max-examples", "8")
        codes = collections.defaultdict(set)
        metrics = server.ask("GET", "/metrics", Authorization=f"Bearer {KEY}")[2].decode()
        for route, code in re.findall(r'^ddpm_http_requests_total{route="([^"]+)",code="(\d+)"}', metrics, re.MULTILINE):
            codes[route].add(int(code))
        for path, operations in server.json("GET", "/openapi.json")[1]["paths"].items():
            self.assertTrue(codes[path], f"{path} was not asked")
            for method, operation in operations.items():
                if operation.get("security") != [] and min(codes[path]) < 300:  # it tries that where it was answered well
                    self.assertIn(401, codes[path], f"{method} {path} without a key")
                if "requestBody" in operation:
                    self.assertTrue(codes[path] & {400, 422}, f"{method} {path} with a wrong body: {codes[path]}")
        for path in ("/v1/models", "/v1/models/{id}", "/v1/capabilities", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/v1/generate",
                     "/v1/images/generations", "/v1/edits/img2img", "/v1/forward", "/livez", "/readyz", "/metrics"):
            self.assertIn(200, codes[path], path)
        self.assertIn(202, codes["/v1/jobs"])

    def test_without_a_key_none_is_asked_for(self):
        document = self.serve().json("GET", "/openapi.json")[1]
        self.assertIn({}, document["security"])
        document = self.serve(environment={"DDPM_API_KEY": KEY}).json("GET", "/openapi.json")[1]
        self.assertEqual(document["security"], [{"bearer": []}, {"key": []}])


if __name__ == "__main__":
    program.main()
