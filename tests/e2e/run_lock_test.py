"""One process at a time trains into a run folder; the next one is told who does, and a kill leaves the folder free."""
import signal
import subprocess
import time
import unittest

import program


class RunLockTest(program.ProgramTest):
    ENDLESS = ["--set", "train.steps=1000000", "--set", "train.log_every=1", "--set", "train.checkpoint_every=5",
               "--set", "train.preview_every=0"]

    def start(self, *more):
        process = subprocess.Popen([program.DDPM, "train", str(self.recipe), "-o", "run", *self.ENDLESS, *more],
                                   cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 60
        while not self.is_training(process):
            self.assertIsNone(process.poll(), "the run ended early")
            self.assertLess(time.monotonic(), deadline, "no lock and checkpoint in a minute")
            time.sleep(0.05)
        return process

    def is_training(self, process):
        run = self.folder / "run"
        holds_lock = (run / "lock").exists() and f"process {process.pid} on " in (run / "lock").read_text()
        return holds_lock and list((run / "checkpoints").glob("step-*"))

    def assert_refused(self, process, *flags):
        done = program.run("train", self.recipe, "-o", "run", *self.ENDLESS, *flags, cwd=self.folder)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("run/lock", done.stderr)
        self.assertIn(f"process {process.pid} on ", done.stderr)

    def test_a_second_process_is_refused_however_it_comes(self):
        process = self.start()
        recipe = (self.folder / "run" / "recipe.toml").read_bytes()
        for flags in ([], ["--overwrite"], ["--resume"]):
            self.assert_refused(process, *flags)
        self.assertIsNone(process.poll(), "the run that was there ended")
        self.assertEqual(recipe, (self.folder / "run" / "recipe.toml").read_bytes())

    def test_the_folder_is_free_after_kill_and_after_a_stop(self):
        process = self.start()
        process.kill()
        process.wait()
        process = self.start("--resume")
        self.assert_refused(process, "--resume")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 143)
        step = max(int(path.name[5:]) for path in (self.folder / "run" / "checkpoints").glob("step-*"))
        self.run_ok("train", self.recipe, "-o", "run", "--resume", "--set", f"train.steps={step + 1}")


if __name__ == "__main__":
    program.main()
