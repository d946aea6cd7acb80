"""Minutes of mixed traffic against one `ddpm serve`: python tests/e2e/soak.py PATH_OF_DDPM [--minutes 20]. By hand, not in ctest.

Every 10 s it prints what the server takes of memory, descriptors and threads. It fails if a request stays unanswered, a status
is not by design, a job is lost, memory grows from the middle third of the time to the last, or what was opened stays open.
docs/operations.md has the figures of a run.
"""
import argparse
import json
import pathlib
import random
import signal
import statistics
import sys
import threading
import time

import program
import serve_test
import soak_traffic

SAMPLE_S = 10
SIGHUP_S = 30
GROWTH_MIB = 16  # or 3%, whichever is more


class Process:
    """What the kernel says of the server."""

    def __init__(self, pid):
        self.folder = pathlib.Path(f"/proc/{pid}")

    def status(self, name):
        return next(int(line.split()[1]) for line in (self.folder / "status").read_text().splitlines() if line.startswith(name + ":"))

    def sample(self):
        return {"rss_mib": self.status("VmRSS") / 1024, "threads": self.status("Threads"),
                "descriptors": len(list((self.folder / "fd").iterdir()))}

    def cpu_s(self):
        fields = (self.folder / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100  # clock ticks are hundredths on Linux


class Soak:
    def __init__(self, server, folder, cores, seed):
        self.server, self.folder, self.cores, self.seed = server, folder, cores, seed
        self.process = Process(server.process.pid)
        self.tally = soak_traffic.Tally()
        self.stop = threading.Event()
        self.pace = 1.0  # pauses are so many times as long, to keep to the given load
        self.samples = []

    def call(self, client, act):
        try:
            act(client)
        except Exception as error:  # no answer: a connection cut, a time over, or one that can't be read
            self.tally.fail(client.kind, f"unanswered: {error!r}")

    def repeat(self, number, kind, act, pause_s):
        client = soak_traffic.Client(self.server.port, kind, self.tally, random.Random(f"{self.seed} {number} {kind}"))
        while not self.stop.wait(client.random.uniform(0.5, 1.5) * pause_s * self.pace):
            self.call(client, act)

    def warm_up(self):
        """What begins at first use is there then: threads, files, and what oneDNN keeps for each size of a batch, some MiB."""
        for number in 3 * list(range(1, 65)):
            self.server.ask("POST", "/v1/generate", {"num_images": number, "sampler": {"kind": "ddim", "steps": 2}})
        for kind, act, _, _ in soak_traffic.KINDS:
            self.call(soak_traffic.Client(self.server.port, kind, self.tally, random.Random(kind)), act)

    def idle(self):
        """When connections are closed and no job is open; the lowest of what a few moments show."""
        deadline = time.monotonic() + 30
        while "ddpm_engine_open_requests 0\n" not in self.metrics() and time.monotonic() < deadline:
            time.sleep(0.5)
        samples = []
        for _ in range(5):
            time.sleep(1)
            samples.append(self.process.sample())
        return {name: min(sample[name] for sample in samples) for name in samples[0]}

    def metrics(self):
        return self.server.ask("GET", "/metrics")[2].decode()

    def reload_models(self):
        """One more model, or one less."""
        more = self.folder / "models/more"
        more.unlink() if more.is_symlink() else more.symlink_to(self.folder / "trained")
        self.server.process.send_signal(signal.SIGHUP)

    def run(self, seconds):
        threads = [threading.Thread(target=self.repeat, args=(number, kind, act, pause_s))
                   for kind, act, count, pause_s in soak_traffic.KINDS for number in range(count)]
        for thread in threads:
            thread.start()
        start, cpu_s, reloaded = time.monotonic(), self.process.cpu_s(), time.monotonic()
        for number in range(1, int(seconds / SAMPLE_S) + 1):
            time.sleep(max(0, start + number * SAMPLE_S - time.monotonic()))
            used, cpu_s = (self.process.cpu_s() - cpu_s) / SAMPLE_S, self.process.cpu_s()
            self.pace = min(20, max(1, self.pace * min(2, max(0.5, used / self.cores))))
            self.samples.append(self.process.sample() | {"cores": used})
            print(f"{number * SAMPLE_S:5d} s  " + "  ".join(f"{name} {value:.4g}" for name, value in self.samples[-1].items())
                  + f"  answers {self.tally.total()}  wrong {len(self.tally.wrong)}", flush=True)
            if time.monotonic() - reloaded > SIGHUP_S:
                self.reload_models()
                reloaded = time.monotonic()
        self.stop.set()
        for thread in threads:
            thread.join(2 * soak_traffic.PATIENCE_S)
            if thread.is_alive():
                self.tally.fail("soak", "a client still waits for its answer")

    def verdict(self, before, after):
        """(figures, what is wrong)"""
        third = len(self.samples) // 3
        middle, last = (statistics.mean(sample["rss_mib"] for sample in part)
                        for part in (self.samples[third:2 * third], self.samples[2 * third:]))
        wrong = list(self.tally.wrong)
        if last > middle + max(GROWTH_MIB, 0.03 * middle):
            wrong.append(f"memory grew from {middle:.1f} to {last:.1f} MiB")
        for name in ("descriptors", "threads"):
            if after[name] > before[name]:
                wrong.append(f"{name}: {before[name]} before, {after[name]} after")
        counts = self.tally.counts
        figures = {"answers": self.tally.total(), "status": {}, "kinds": {}, "idle": before, "idle_after": after,
                   "rss_mib": {"middle_third": round(middle, 1), "last_third": round(last, 1),
                               "most": round(max(sample["rss_mib"] for sample in self.samples), 1)},
                   "most_descriptors": max(sample["descriptors"] for sample in self.samples),
                   "most_threads": max(sample["threads"] for sample in self.samples),
                   "cores": round(statistics.mean(sample["cores"] for sample in self.samples), 2), "wrong": len(wrong)}
        for (kind, outcome), count in sorted(counts.items()):
            figures["status"][outcome] = figures["status"].get(outcome, 0) + count
            figures["kinds"][kind] = figures["kinds"].get(kind, 0) + count
        return figures, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ddpm")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--cores", type=float, default=0.5, help="of the server: the traffic's pauses follow from it")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    program.DDPM = str(pathlib.Path(options.ddpm).resolve())
    trainer = program.ProgramTest()
    trainer.setUp()
    trainer.train_tiny("trained", "data.max_images=32")
    (trainer.folder / "models").mkdir()
    (trainer.folder / "models/shapes").symlink_to(trainer.folder / "trained")
    # A store that is full after a minute or so: what goes on growing then is a leak.
    server = serve_test.Server(trainer.folder, "--state", "jobs.db", "--results", 1, "--keep-seconds", 60)
    try:
        soak = Soak(server, trainer.folder, options.cores, options.seed)
        soak.warm_up()
        before = soak.idle()
        soak.run(options.minutes * 60)
        after = soak.idle()
        figures, wrong = soak.verdict(before, after)
        code = server.stop()
        if code != 0:
            wrong.append(f"the server ended with {code}")
    finally:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)
        print((trainer.folder / "serve.log").read_text(errors="replace")[-2000:], file=sys.stderr)
        trainer.doCleanups()
    print(json.dumps(figures))
    for line in wrong[len(soak.tally.wrong):]:
        print("wrong:", line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
