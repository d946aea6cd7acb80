"""A run that is killed at any moment, saves included, goes on to the same bits as one that was not."""
import json
import random
import signal
import subprocess
import time
import unittest

import program


def tensors(run_folder, step):
    folder = run_folder / "checkpoints" / f"step-{step:08d}"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


class KillAndResumeTest(program.ProgramTest):
    STEPS = 60
    OVERRIDES = ["--set", f"train.steps={STEPS}", "--set", "train.checkpoint_every=2",
                 "--set", "train.preview_every=0", "--set", "train.log_every=1"]

    def start(self, run_folder, *more):
        return subprocess.Popen([program.DDPM, "train", str(self.recipe), "-o", str(run_folder),
                                 *self.OVERRIDES, *more], cwd=self.folder,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def assert_equal_runs(self, run_folder, reference):
        expected, got = tensors(reference, self.STEPS), tensors(run_folder, self.STEPS)
        self.assertGreaterEqual(len(expected), 2)
        self.assertEqual(sorted(expected), sorted(got))
        for name in expected:
            self.assertEqual(expected[name], got[name], f"{name} differs from the unkilled run's")
        steps = [json.loads(line)["step"]
                 for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(steps, list(range(1, self.STEPS + 1)))

    def test_twenty_kills_leave_the_same_bits(self):
        reference = self.folder / "reference"
        begin = time.monotonic()
        process = self.start(reference)
        _, stderr = process.communicate()
        whole = time.monotonic() - begin
        self.assertEqual(process.returncode, 0, stderr)

        generator = random.Random(7)
        run_folder = self.folder / "killed"
        kills = 0
        while kills < 20:
            # A kill within the first save leaves the folder of checkpoints, and none in it.
            can_resume = any((run_folder / "checkpoints").glob("step-*"))
            more = ["--resume"] if can_resume else ["--overwrite"]
            process = self.start(run_folder, *more)
            try:
                # A share of the whole run's time, so that kills fall on start-up, steps and saves.
                _, stderr = process.communicate(timeout=whole * generator.uniform(0.05, 0.6))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                self.assertFalse([path for path in (run_folder / "checkpoints").glob("step-*")
                                  if not (path / "manifest.json").exists()])
                continue
            self.assertEqual(process.returncode, 0, stderr)
            self.assert_equal_runs(run_folder, reference)
            run_folder = self.folder / f"killed{kills}"
        process = self.start(run_folder, "--resume" if any((run_folder / "checkpoints").glob("step-*"))
                             else "--overwrite")
        _, stderr = process.communicate()
        self.assertEqual(process.returncode, 0, stderr)
        self.assert_equal_runs(run_folder, reference)

    def test_a_signal_saves_and_ends_with_its_code(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            run_folder = self.folder / f"run{code}"
            process = self.start(run_folder, "--set", "train.steps=100000", "--set",
                                 "train.checkpoint_every=0")
            metrics = run_folder / "metrics.jsonl"
            while not (metrics.exists() and metrics.read_text().count("\n") > 3):
                self.assertIsNone(process.poll(), "the run ended early")
                time.sleep(0.05)
            process.send_signal(signal.SIGUSR1)
            deadline = time.monotonic() + 30
            while not list((run_folder / "checkpoints").glob("step-*")):
                self.assertLess(time.monotonic(), deadline, "SIGUSR1 saved nothing")
                time.sleep(0.05)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=60)
            self.assertEqual(process.returncode, code, stderr)
            self.assertGreaterEqual(len(list((run_folder / "checkpoints").glob("step-*"))), 1)


if __name__ == "__main__":
    program.main()
