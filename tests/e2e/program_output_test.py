"""What the program writes is what other programs read: pictures, text chunks, arrays, metrics, completion."""
import json
import subprocess
import unittest

import numpy
import PIL.Image

import program


class ProgramOutputTest(program.ProgramTest):
    def test_outputs_of_one_command_agree(self):
        self.train_tiny()
        self.run_ok("sample", "run", "-n", 5, "--steps", 4, "--seed", 9, "--columns", 5, "--scale", 1,
                    "-o", "grid.png", "-o", "strip.png", "-o", "a.webp", "-o", "a.npz", "-o", "folder")
        images = numpy.load(self.folder / "a.npz")["arr_0"]
        self.assertEqual((images.shape, images.dtype), ((5, 8, 8, 1), numpy.uint8))
        for number in range(5):
            with PIL.Image.open(self.folder / "folder" / f"{number:06d}.png") as picture:
                numpy.testing.assert_array_equal(numpy.asarray(picture), images[number, :, :, 0])
                self.assertEqual(picture.text["ddpm.seed"], "9")
                self.assertEqual(picture.text["ddpm.image"], str(number))
                self.assertEqual((picture.text["ddpm.sampler"], picture.text["ddpm.steps"]), ("ddim", "4"))
                self.assertRegex(picture.text["ddpm.model"], "^[0-9a-f]{12}$")
        with PIL.Image.open(self.folder / "grid.png") as grid:
            pixels = numpy.asarray(grid.convert("L"))
        tiles = [pixels[2:10, 2 + 10 * i:10 + 10 * i] for i in range(5)]
        if pixels.shape != (12, 52):  # padding on both sides of each image
            tiles = [pixels[2:10, 2 + 12 * i:10 + 12 * i] for i in range(5)]
        for tile, image in zip(tiles, images):
            numpy.testing.assert_array_equal(tile, image[:, :, 0])
        with PIL.Image.open(self.folder / "a.webp") as animation:
            self.assertEqual(animation.n_frames, 5)
        with PIL.Image.open(self.folder / "strip.png") as strip:
            self.assertGreater(strip.height, 4 * 3 * 8)

    def test_same_seed_same_bytes_and_other_seed_others(self):
        self.train_tiny()
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            self.run_ok("sample", "run", "-n", 4, "--steps", 4, "--seed", seed, "-o", f"{name}.npz")
        a, b, c = ((self.folder / f"{name}.npz").read_bytes() for name in "abc")
        self.assertEqual(a, b)
        self.assertNotEqual(a, c)

    def test_model_folder_and_run_give_the_same_images(self):
        self.train_tiny()
        self.run_ok("sample", "run", "-n", 2, "--steps", 4, "-o", "a.npz")
        self.run_ok("sample", "run/model", "-n", 2, "--steps", 4, "-o", "b.npz")
        self.assertEqual((self.folder / "a.npz").read_bytes(), (self.folder / "b.npz").read_bytes())

    def test_images_that_are_not_numbers_are_never_written(self):
        self.train_tiny()
        import safetensors.torch
        weights = self.folder / "run/model/unet/diffusion_pytorch_model.safetensors"
        tensors = safetensors.torch.load_file(weights)
        tensors["conv_out.bias"][:] = float("nan")
        safetensors.torch.save_file(tensors, weights, metadata={"format": "pt"})
        for output in ("a.png", "a.npz", "folder"):
            done = program.run("sample", "run/model", "-n", 2, "--steps", 2, "-o", output, cwd=self.folder)
            self.assertEqual(done.returncode, 2, output)
            self.assertRegex(done.stderr, "expected numbers, got NaN")
            self.assertFalse((self.folder / output).exists(), output)

    def test_diffusers_loads_the_run(self):
        self.train_tiny()
        from diffusers import DDPMPipeline
        pipeline = DDPMPipeline.from_pretrained(self.folder / "run" / "model")
        picture = pipeline(num_inference_steps=5).images[0]
        self.assertEqual(picture.size, (8, 8))

    def test_train_on_a_folder_with_classes(self):
        generator = numpy.random.default_rng(0)
        for name in ("cat", "dog"):
            (self.folder / "images" / name).mkdir(parents=True)
            for number in range(6):
                pixels = generator.integers(0, 256, (12, 9, 3), dtype=numpy.uint8)
                PIL.Image.fromarray(pixels).save(self.folder / "images" / name / f"{number}.png")
        self.train_tiny("run", "data.kind=folder", "data.path=images", "data.channels=3",
                        "train.class_conditional=true", "train.steps=6")
        info = json.loads(self.run_ok("info", "run", "--json").stdout)
        self.assertEqual(info["class_names"], ["cat", "dog"])
        for name in ("cat", "1"):
            self.run_ok("sample", "run", "-n", 2, "--steps", 3, "--class", name, "-o", f"{name}.png")

    def test_metrics_are_json_lines_and_progress_is_json(self):
        done = self.run_ok("train", self.recipe, "-o", "run", "--json")
        events = [json.loads(line) for line in done.stderr.splitlines()]
        self.assertEqual(events[-1]["event"], "finished")
        rows = [json.loads(line) for line in (self.folder / "run/metrics.jsonl").read_text().splitlines()]
        self.assertEqual([row["step"] for row in rows], [5, 10, 15, 20])
        self.assertEqual({"loss", "grad_norm", "lr", "img_per_s", "data_wait"} - set(rows[0]), set())
        self.assertEqual({"loss", "grad_norm", "lr", "img_per_s", "data_wait"} - set(rows[0]), set())

    def test_dry_run_says_what_it_would_take_and_writes_nothing(self):
        before = sorted(self.folder.rglob("*"))
        done = self.run_ok("train", self.recipe, "-o", "run", "--dry-run")
        for word in ("parameters", "activations", "whole_run", "images", "run (can be written to)"):
            self.assertIn(word, done.stdout)
        report = json.loads(self.run_ok("train", self.recipe, "-o", "run", "--dry-run", "--json").stdout)
        self.assertGreater(report["time"]["step_seconds"], 0)
        self.assertEqual(before, sorted(self.folder.rglob("*")))

    def test_forward_and_info_of_a_recipe(self):
        self.run_ok("forward", self.recipe, "--levels", 5, "-o", "f.png")
        with PIL.Image.open(self.folder / "f.png") as strip:
            self.assertGreater(strip.width, 5 * 100)
        self.assertIn("parameters", self.run_ok("info", self.recipe).stdout)

    def test_train_lists_the_fields_of_a_recipe(self):
        fields = self.run_ok("train", "--fields").stdout
        self.assertIn("  train.batch_size = ", fields)
        self.assertIn("diffusion.schedule = \"linear\"", fields)

    def test_every_help_shows_examples(self):
        for command in ("train", "sample", "edit", "forward", "info", "convert", "eval", "completion"):
            self.assertIn("Examples:", self.run_ok(command, "--help").stdout)

    def test_bash_completes_commands_and_flags(self):
        script = self.run_ok("completion", "bash").stdout
        complete = ("COMP_WORDS=(ddpm sample --st); COMP_CWORD=2; _ddpm; echo ${COMPREPLY[@]}; "
                    "COMP_WORDS=(ddpm tr); COMP_CWORD=1; _ddpm; echo ${COMPREPLY[@]}; "
                    "COMP_WORDS=(ddpm completion f); COMP_CWORD=2; _ddpm; echo ${COMPREPLY[@]}; "
                    "COMP_WORDS=(ddpm edit in); COMP_CWORD=2; _ddpm; echo ${COMPREPLY[@]}; "
                    "COMP_WORDS=(ddpm edit inpaint --res); COMP_CWORD=3; _ddpm; echo ${COMPREPLY[@]}")
        done = subprocess.run(["bash", "-c", script + complete], text=True, stdout=subprocess.PIPE, check=True)
        self.assertEqual(done.stdout.split(), ["--steps", "--steps-offset", "train", "fish", "inpaint", "interpolate",
                                                "--resamples"])


if __name__ == "__main__":
    program.main()
