"""What the clients of soak.py do: each kind of traffic is a function of a Client, called again and again."""
import collections
import contextlib
import http.client
import json
import socket
import threading
import time

import edit_test

PHOTO = edit_test.png_bytes(12, 9, 3, lambda x, y: [20 * x, 25 * y, 128])
MASK = edit_test.png_bytes(8, 8, 1, lambda x, y: [255 if x >= 4 else 0])
PATIENCE_S = 60


class Tally:
    """What was asked and answered, and what should not have been."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.wrong = []

    def add(self, kind, outcome):
        with self.lock:
            self.counts[kind, str(outcome)] += 1

    def fail(self, kind, what):
        with self.lock:
            self.wrong.append(f"{kind}: {what}")
            print("wrong:", self.wrong[-1], flush=True)
            self.counts[kind, "wrong"] += 1

    def total(self, *outcomes):
        return sum(count for (_, outcome), count in self.counts.items() if not outcomes or outcome in outcomes)


class Client:
    """One of the soak's threads: a connection a request, and a random stream of its own."""

    def __init__(self, port, kind, tally, random):
        self.port, self.kind, self.tally, self.random = port, kind, tally, random

    @contextlib.contextmanager
    def open(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        if isinstance(body, (dict, list)):
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            self.judge(method, path, answer)
            yield answer

    def judge(self, method, path, answer):
        """429 and 503 are by design, and say when to come back; other 5xx are not."""
        self.tally.add(self.kind, answer.status)
        is_later = answer.status in (429, 503)
        if is_later and not answer.getheader("Retry-After"):
            self.tally.fail(self.kind, f"{method} {path}: {answer.status} without Retry-After")
        if answer.status >= 500 and not is_later:
            self.tally.fail(self.kind, f"{method} {path}: {answer.status} {answer.read(500)}")

    def ask(self, method, path, body=None, expected=(200, 202), **headers):
        """Status and bytes; another status than these, and than those by design, is wrong."""
        with self.open(method, path, body, **headers) as answer:
            content = answer.read()
            if answer.status not in (*expected, 429, 503):
                self.tally.fail(self.kind, f"{method} {path}: {answer.status} {content[:300]}")
            return answer.status, content

    def generation(self, steps=None, **more):
        kind = self.random.choice(["ddim", "ddpm", "dpmpp_2m", "heun"])
        steps = steps or self.random.choice([5, 8, 12, 20, 35, 50])
        return {"model": "shapes", "num_images": self.random.randint(1, 4), "sampler": {"kind": kind, "steps": steps},
                "format": self.random.choice(["png", "png", "webp", "npz"])} | more

    def submit(self, **more):
        """A job's id, or None where the server had no room."""
        status, content = self.ask("POST", "/v1/jobs", self.generation(**more))
        return json.loads(content)["id"] if status == 202 else None

    def follow(self, path, leave_after=None):
        """Names of the events up to the end, or those that came first."""
        names = []
        with self.open("GET", path) as answer:
            if answer.status != 200:
                return names
            for line in answer:
                if line.startswith((b"event: ", b'data: {"event_id"', b'data: {"msg"')):
                    names.append(line.decode().strip())
                if leave_after is not None and len(names) >= leave_after:
                    return names
                if b'"process_completed"' in line:
                    return names
        return names

    def end_of(self, job):
        """The job when it is over, which it must be in time, and must be found to be."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            status, content = self.ask("GET", f"/v1/jobs/{job}")
            if status == 200 and json.loads(content)["finished_at"]:
                return json.loads(content)
            if status == 404:
                break
            time.sleep(0.3)
        self.tally.fail(self.kind, f"job {job} never ended")
        return {"state": "lost", "images": [], "trace": {"frames": 0}}

    def expect(self, fact, what):
        if not fact:
            self.tally.fail(self.kind, what)

    def form(self, path, fields, files, expected=(200,)):
        parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
        for name, content in files:
            parts.append(f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="f.png"\r\n\r\n'.encode() + content + b"\r\n")
        return self.ask("POST", path, b"".join(parts) + b"--b--\r\n", expected, Content_Type="multipart/form-data; boundary=b")


def generate(client):
    status, content = client.ask("POST", "/v1/generate", client.generation())
    client.expect(status != 200 or content, "an empty answer")


def watched_job(client):
    job = client.submit(previews=True, trace=client.random.choice([0, 4]))
    if job is None:
        return
    names = client.follow(f"/v1/jobs/{job}/events")
    client.expect(names[-1:] == ["event: end"], f"events of {job} end with {names[-1:]}")
    over = client.end_of(job)
    client.expect(over["state"] == "succeeded", f"job {job}: {over}")
    for image in over["images"]:
        client.ask("GET", image["url"])
    for frame in range(over["trace"]["frames"]):
        client.ask("GET", f"/v1/jobs/{job}/trace/{frame}/x_t.png")
    if client.random.random() < 0.5:
        client.ask("DELETE", f"/v1/jobs/{job}")


def watcher_that_leaves(client):
    job = client.submit(steps=50, num_images=4, previews=True)
    if job is None:
        return
    client.follow(f"/v1/jobs/{job}/events", leave_after=client.random.randint(1, 4))
    over = client.end_of(job)
    client.expect(over["state"] == "succeeded", f"job {job} of a watcher that left: {over['state']}")


def cancel(client):
    job = client.submit(steps=50, num_images=16)
    if job is None:
        return
    time.sleep(client.random.uniform(0, 0.2))
    client.ask("DELETE", f"/v1/jobs/{job}")
    with client.open("GET", f"/v1/jobs/{job}/events") as answer:  # 404 where it was over, and forgotten
        client.expect(answer.status in (200, 404), f"events of a cancelled job: {answer.status}")
        answer.read()


def client_that_leaves(client):
    body = json.dumps(client.generation(steps=50, num_images=16)).encode()
    head = f"POST /v1/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(head.encode() + body[:client.random.choice([3, len(body)])])
        time.sleep(client.random.uniform(0, 0.1))
    client.tally.add(client.kind, "left")


def keyed(client):
    key = f"soak-{client.random.getrandbits(64):x}"
    body = client.generation(seed=1)
    first, again = (client.ask("POST", "/v1/jobs", body, Idempotency_Key=key) for _ in range(2))
    if first[0] == again[0] == 202:
        client.expect(json.loads(first[1])["id"] == json.loads(again[1])["id"], "one key made two jobs")


def edit(client):
    kind, fields, files = client.random.choice([
        ("inpaint", {"sampler.steps": 10, "jump_length": 3, "resamples": 2}, [("image", PHOTO), ("mask", MASK)]),
        ("img2img", {"strength": 0.5, "sampler.steps": 10, "num_images": 2}, [("image", PHOTO)]),
        ("interpolate", {"frames": 3, "sampler.steps": 5, "format": "webp"}, [("image", PHOTO), ("image", PHOTO)]),
        ("superres", {"sampler.steps": 10, "resamples": 1}, [("image", PHOTO)])])
    client.form(f"/v1/edits/{kind}", fields | {"model": "shapes"}, files)


def upload(client):
    client.form("/v1/forward", {"size": 32, "levels": 5, "schedule": client.random.choice(["linear", "cosine"])}, [("image", PHOTO)])
    cut = PHOTO[:client.random.randint(0, len(PHOTO) - 1)]
    client.form("/v1/forward", {}, [("image", cut)], expected=(422,))


def openai(client):
    body = {"prompt": "", "model": "shapes", "sampler": {"kind": "ddpm"}}
    names = []
    with client.open("POST", "/v1/images/generations", body | {"stream": True, "partial_images": 2}) as answer:
        names = [line.decode().strip() for line in answer if line.startswith(b"event: ")] if answer.status == 200 else []
        client.expect(answer.status != 200 or names[-1:] == ["event: image_generation.completed"], f"stream: {names}")
    status, content = client.ask("POST", "/v1/images/generations", body | {"n": 2})
    client.expect(status != 200 or len(json.loads(content)["data"]) == 2, "not two images")


def gradio(client):
    call = {"data": ["shapes", 2, None, 12, "ddim"]}
    session = f"soak-{client.random.getrandbits(48):x}"
    status, _ = client.ask("POST", "/gradio_api/queue/join", call | {"session_hash": session, "fn_index": 0})
    if status == 200:
        names = client.follow(f"/gradio_api/queue/data?session_hash={session}")
        client.expect(names and "process_completed" in names[-1], f"queue: {names[-1:]}")
    status, content = client.ask("POST", "/gradio_api/call/generate", call)
    if status == 200:
        names = client.follow(f"/gradio_api/call/generate/{json.loads(content)['event_id']}")
        client.expect(names[-1:] == ["event: complete"], f"call: {names}")


def bad(client):
    for body, status in ((b"{", 400), (b'{"stepz": 1}', 422), (b'{"num_images": 1000000}', 422), (b'{"model": "../x"}', 404)):
        client.ask("POST", "/v1/jobs", body, expected=(status,), Content_Type="application/json")
    client.ask("POST", "/v1/generate", b"a" * 70_000, expected=(413,), Content_Type="application/json")
    client.ask("GET", "/v1/jobs/nobody/events", expected=(404,))
    client.ask("GET", "/assets/..%2f..%2fetc", expected=(400, 404))


def visit(client):
    for path in ("/", "/v1/models", "/v1/capabilities", "/v1/jobs?limit=50", "/openapi.json", "/livez", "/readyz", "/metrics"):
        client.ask("GET", path)


# Name, what it does, how many of it at once, and seconds between two of it.
KINDS = (("generate", generate, 3, 0.3), ("watched_job", watched_job, 2, 0.8), ("watcher_that_leaves", watcher_that_leaves, 1, 1.5),
         ("cancel", cancel, 1, 1.0), ("client_that_leaves", client_that_leaves, 1, 1.0), ("keyed", keyed, 1, 1.0),
         ("edit", edit, 1, 1.5), ("upload", upload, 1, 1.5), ("openai", openai, 1, 1.5), ("gradio", gradio, 1, 1.5),
         ("bad", bad, 1, 1.5), ("visit", visit, 1, 2.0))
