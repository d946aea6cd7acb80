"""Those who do a work: a step of ddpm.cpp's step_benchmark, or one of PyTorch's in a worker.py."""
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

WORKER = pathlib.Path(__file__).with_name("worker.py")


class Failed(Exception):
    """One sentence: who could not do it, and the end of what it said."""


class Ours:
    """ddpm.cpp; a new process each time, since Google Benchmark runs to its end."""

    is_floor = False

    def __init__(self, program, work, precision):
        self.name = f"ddpm.cpp {precision}"
        self.command = [program, f"--benchmark_filter=^{work.name}/{precision}/", "--benchmark_format=json",
                        "--benchmark_repetitions=3"]

    def start(self):
        pass

    def measure(self, seconds):
        done = subprocess.run([*self.command, f"--benchmark_min_time={seconds / 3}"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        runs = [run for run in json.loads(done.stdout)["benchmarks"] if run["run_type"] == "iteration"] \
            if done.returncode == 0 and done.stdout else []
        if not runs:
            raise Failed(f"{' '.join(self.command)}: {done.stderr.strip()[-500:]}")
        return {"ms": [run["real_time"] for run in runs], "peak_mib": max(run["peak_mib"] for run in runs)}

    def stop(self):
        pass


class Peer:
    """One of PyTorch's ways, in a process that stays between measurements."""

    def __init__(self, work, mode):
        self.name, self.is_floor = mode.name, mode.floor
        self.command = [sys.executable, str(WORKER), *(json.dumps(dataclasses.asdict(x)) for x in (work, mode))]
        self.process = self.errors = None

    def start(self):
        """Returns when the step is compiled and warm."""
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors)
        self.answer()

    def measure(self, seconds):
        print(seconds, file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise Failed(f"{self.name}: {self.errors.read().strip()[-500:]}")
        return json.loads(line)

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
            self.errors.close()
            self.process = None
