"""A folder of samples appears with every image in it, or not at all, also where the process is killed."""
import random
import signal
import subprocess
import time
import unittest

import program


class SampleFolderTest(program.ProgramTest):
    COUNT = 120
    SAMPLE = ["sample", "run", "-n", COUNT, "--steps", 2, "--batch", 60, "-q", "--threads", 1]

    def start(self, output):
        return subprocess.Popen([program.DDPM, *map(str, self.SAMPLE), "-o", output], cwd=self.folder,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def contents(self, name):
        return {path.name: path.read_bytes() for path in (self.folder / name).iterdir()}

    def hidden(self):
        return [path.name for path in self.folder.iterdir() if path.name.startswith(".")]

    def kill_after(self, delay_s, output):
        """Kills the process that long after it has begun to write; says whether it wrote before."""
        left_before = set(self.hidden())
        process = self.start(output)
        while process.poll() is None and not set(self.hidden()) - left_before:
            time.sleep(0.001)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return process.returncode == 0

    def test_twenty_kills_leave_no_half_folder(self):
        self.train_tiny()
        begin = time.monotonic()
        process = self.start("whole")
        while process.poll() is None and not self.hidden():
            begin = time.monotonic()
            time.sleep(0.001)
        _, stderr = process.communicate()
        writing_s = time.monotonic() - begin
        self.assertEqual(process.returncode, 0, stderr)
        whole = self.contents("whole")
        self.assertEqual(sorted(whole), [f"{i:06d}.png" for i in range(self.COUNT)])

        generator = random.Random(7)
        kills_in_the_middle = 0
        for kill in range(20):
            name = f"killed{kill % 3}"
            finished = self.kill_after(writing_s * generator.uniform(0, 1), name)
            # A folder that was there, empty, stays so until all images are in it.
            got = self.contents(name) if (self.folder / name).exists() else {}
            if got:
                self.assertEqual(whole, got)
                for path in (self.folder / name).iterdir():
                    path.unlink()  # an empty folder may be filled
            else:
                self.assertFalse(finished)
                kills_in_the_middle += 1
        self.assertGreater(kills_in_the_middle, 5)

        for name in ("killed0", "killed1", "killed2"):
            self.run_ok(*self.SAMPLE, "-o", name)
            self.assertEqual(whole, self.contents(name))
        self.assertEqual(self.hidden(), [], "what the kills left is swept up")

    def test_a_folder_with_files_is_refused_before_the_work(self):
        self.train_tiny()
        self.write("photos/cat.png", "mine")
        for output in ("photos", "photos/", "tiny"):
            self.write("tiny", "a file")
            done = program.run(*self.SAMPLE, "-o", output, cwd=self.folder)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("expected a new or empty folder", done.stderr)
        self.assertEqual((self.folder / "photos/cat.png").read_text(), "mine")
        self.run_ok(*self.SAMPLE, "-o", "new/")
        self.assertEqual(len(self.contents("new")), self.COUNT)


if __name__ == "__main__":
    program.main()
