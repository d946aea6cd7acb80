"""`ddpm train --profile` says where a step's time goes, and changes nothing else."""
import csv
import json
import unittest

import program


class ProfileTest(program.ProgramTest):
    def profile(self, *arguments):
        return self.run_ok("train", self.recipe, "-o", "run", "--profile", *arguments)

    def rows(self, kind):
        with open(self.folder / "run/profile/kernels.csv") as file:
            return [row for row in csv.DictReader(file) if row["kind"] == kind]

    def test_the_table_adds_up_and_names_the_operators(self):
        printed = self.profile(4).stdout
        self.assertRegex(printed, r"(?m)^4 steps of 8 images: [0-9.]+ ms a step")
        for kind in ("kernel", "layer"):
            rows = self.rows(kind)
            self.assertAlmostEqual(sum(float(row["share"]) for row in rows), 1, delta=1e-3)
            times = [float(row["total_ms"]) for row in rows]
            self.assertEqual(times, sorted(times, reverse=True))
            self.assertIn(rows[0]["name"][:60], printed)
        convolutions = [row for row in self.rows("kernel") if row["name"] == "aten::convolution_backward"]
        self.assertEqual(len(convolutions), 1)
        # Two micro-batches a step, four steps.
        self.assertEqual(int(convolutions[0]["count"]) % 8, 0)
        self.assertTrue(any("[4, 8, 8, 8]" in row["name"] for row in self.rows("layer")))

    def test_the_trace_is_a_chrome_trace_of_the_steps(self):
        self.profile()
        trace = json.loads((self.folder / "run/profile/trace.json").read_text())
        names = {event.get("name") for event in trace["traceEvents"]}
        self.assertIn("aten::convolution_backward", names)

    def test_nothing_but_the_profile_is_written_and_training_can_follow(self):
        self.profile(1)
        self.assertEqual([path.name for path in (self.folder / "run").iterdir()], ["profile"])
        self.train_tiny()
        before = (self.folder / "run/model/unet/diffusion_pytorch_model.safetensors").read_bytes()
        self.profile(1)
        self.assertEqual((self.folder / "run/model/unet/diffusion_pytorch_model.safetensors").read_bytes(), before)

    def test_what_means_nothing_is_refused(self):
        for other in ("--resume", "--overwrite", "--dry-run", "--json"):
            refused = program.run("train", self.recipe, "--profile", 2, other, cwd=self.folder)
            self.assertEqual(refused.returncode, 2, refused.stderr)
            self.assertIn(f"expected it without {other}", refused.stderr)
        for steps in ("0", "-3", "many"):
            refused = program.run("train", self.recipe, f"--profile={steps}", cwd=self.folder)
            self.assertEqual(refused.returncode, 2, refused.stderr)
            self.assertIn("--profile", refused.stderr)
        self.assertFalse((self.folder / "run").exists())


if __name__ == "__main__":
    program.main()
