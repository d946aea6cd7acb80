"""ddpm eval loss and ddpm eval frechet, as someone at a shell uses them."""
import json
import math
import shutil
import unittest

import numpy
import PIL.Image

import program

CLASSIFIER = program.TINY_RECIPE.split("[model.unet2d]")[0] + """
[model]
kind = "classifier"

[model.classifier]
block_out_channels = [8, 16]
layers_per_block = 1
attention_head_dim = 8
norm_num_groups = 4

[loss]
kind = "cross_entropy"

[train]
steps = 20
batch_size = 8
log_every = 5
preview_every = 0
checkpoint_every = 0
threads = 1
"""


class EvalTest(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.train_tiny()

    def train_classifier(self):
        self.run_ok("train", self.write("classifier.toml", CLASSIFIER), "-o", "classifier", "-q")

    def eval_json(self, *arguments):
        done = self.run_ok("eval", *arguments, "--threads", 1, "--json")
        self.assertEqual(done.stderr, "")
        return json.loads(done.stdout)

    def refuse(self, arguments, *words, code=2):
        done = program.run(*arguments, cwd=self.folder)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def write_images(self, folder, count, side=8, seed=0):
        """Grey noise pictures, in two class folders."""
        random = numpy.random.default_rng(seed)
        for i in range(count):
            path = self.folder / folder / ("a" if i % 2 else "b") / f"{i:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(random.integers(0, 256, (side, side), numpy.uint8)).save(path)

    def write_samples(self, name, count, side=8, seed=0, channels=1):
        random = numpy.random.default_rng(seed)
        numpy.savez(self.folder / name,
                    arr_0=random.integers(0, 256, (count, side, side, channels), numpy.uint8))

    def test_a_loss_names_all_that_it_depends_on_and_repeats(self):
        report = self.eval_json("loss", "run")
        info = json.loads(self.run_ok("info", "run", "--json").stdout)
        self.assertEqual(report["model"], {"path": "run", "hash": info["hash"][:12], "step": 20})
        self.assertEqual((report["data"]["split"], report["data"]["images"]), ("test", 64))
        self.assertIn("8 x 8 x 1", report["data"]["preprocessing"])
        few = self.eval_json("loss", "run", "-n", 10)["data"]
        self.assertEqual((few["images"], few["preprocessing"]), (10, report["data"]["preprocessing"]))
        self.assertEqual((report["draws"], report["seed"]), (8, 0))
        self.assertEqual((report["device"].split(":")[0] in ("cpu", "cuda"), report["set"]), (True, []))
        self.assertEqual(report["objective"]["loss"], "l2")
        eps = report["eps_mse"]
        self.assertTrue(0.1 < eps["mean"] < 1.5 and 0 < eps["standard_error"] < 0.1, eps)
        # Nearly the same number of draws in each quarter: T = 50 is no multiple of 4.
        self.assertAlmostEqual(sum(eps["quarter_means"]) / 4, eps["mean"], places=2)
        self.assertEqual(report["objective"]["mean"], eps["mean"], "plain l2 of eps")
        self.assertEqual(self.eval_json("loss", "run"), report)
        other_batches = self.eval_json("loss", "run", "--batch", 7)
        self.assertAlmostEqual(other_batches["eps_mse"]["mean"], eps["mean"], places=5)
        other_noise = self.eval_json("loss", "run", "--seed", 1)
        self.assertNotEqual(other_noise["eps_mse"]["mean"], eps["mean"])
        self.assertLess(abs(other_noise["eps_mse"]["mean"] - eps["mean"]), 6 * eps["standard_error"])

    def test_runs_checkpoints_and_exports_are_one_model(self):
        losses = [self.eval_json("loss", model)["eps_mse"] for model in
                  ("run", "run/", "run/checkpoints/step-00000020", "run/model")]
        self.assertEqual(losses.count(losses[0]), 4, losses)
        raw = self.eval_json("loss", "run", "--raw-weights")
        self.assertNotEqual(raw["eps_mse"], losses[0])
        shutil.copytree(self.folder / "run" / "model", self.folder / "elsewhere")
        self.refuse(["eval", "loss", "elsewhere"], "--data", "elsewhere")
        moved = self.eval_json("loss", "elsewhere", "--data", "tiny.toml")
        self.assertEqual(moved["eps_mse"], losses[0])
        self.assertFalse({"objective", "plain"} & moved.keys(), "nothing says what training lowered")
        text = self.run_ok("eval", "loss", "elsewhere", "--data", "tiny.toml", "-q").stdout
        self.assertIn("eps MSE", text)
        self.assertNotIn("objective", text)

    def test_a_checkpoint_away_from_its_run_knows_its_loss(self):
        self.train_tiny("huber", "loss.kind=huber")
        shutil.copytree(self.folder / "huber" / "checkpoints" / "step-00000020", self.folder / "away")
        away = self.eval_json("loss", "away", "--data", "tiny.toml")
        at_home = self.eval_json("loss", "huber")
        self.assertEqual(away["objective"]["loss"], "huber")
        self.assertEqual(away["objective"], at_home["objective"])

    def test_images_that_a_run_held_out_by_name(self):
        self.write_images("photos", 40)
        self.write("photos.toml", program.TINY_RECIPE.replace(
            'kind = "shapes"', 'kind = "folder"\npath = "photos"\nheld_out_fraction = 0.25'))
        self.run_ok("train", "photos.toml", "-o", "photo_run", "-q")
        data = self.eval_json("loss", "photo_run")["data"]
        self.assertEqual(data["split"], "test")
        self.assertTrue(2 <= data["images"] <= 20, data)
        own = ["--set", "data.held_out_fraction=0.25"]
        self.assertEqual(self.eval_json("loss", "photo_run", *own)["data"], data)
        self.assertEqual(self.eval_json("loss", "photo_run", *own)["set"], own[1:])
        self.assertEqual(self.eval_json("loss", "photo_run", "--data", "photos", *own)["data"]["images"],
                         data["images"])
        other = ["--set", "data.held_out_fraction=0.5"]
        self.refuse(["eval", "loss", "photo_run", *other], "held_out_fraction", "0.25", "0.5")
        self.refuse(["eval", "nll", "photo_run", *other], "held_out_fraction", "0.25", "0.5")
        self.refuse(["eval", "loss", "photo_run", "--data", "photo_run/recipe.toml:train", *other], "0.25")
        self.refuse(["eval", "loss", "photo_run", "--data", "photos", *other], "0.25", "0.5")
        self.run_ok("train", "photos.toml", "-o", "all_run", "-q", "--set", "data.held_out_fraction=0")
        self.refuse(["eval", "loss", "all_run"], "train with data.held_out_fraction above 0")
        self.refuse(["eval", "loss", "photo_run", "--against", "all_run"], "all_run", "held_out_fraction")

    def test_models_are_compared_at_the_same_noise(self):
        self.train_tiny("longer", "train.steps=60", "diffusion.prediction=v_prediction")
        same = self.eval_json("loss", "run", "--against", "run")["difference"]["eps_mse"]
        self.assertEqual(same, {"mean": 0, "standard_error": 0})
        report = self.eval_json("loss", "run", "--against", "longer")
        difference = report["difference"]["eps_mse"]
        other = self.eval_json("loss", "longer")["eps_mse"]
        self.assertAlmostEqual(difference["mean"], report["eps_mse"]["mean"] - other["mean"], places=9)
        self.assertLess(difference["standard_error"],
                        math.hypot(report["eps_mse"]["standard_error"], other["standard_error"]))
        text = self.run_ok("eval", "loss", "run", "--against", "longer", "-q").stdout
        self.assertIn("eps MSE minus that of longer", text)
        for name, override in (("linear", "diffusion.schedule=linear"), ("short", "diffusion.num_timesteps=40")):
            self.train_tiny(name, override)
            self.refuse(["eval", "loss", "run", "--against", name], "--against", name, "schedule", "eval nll")
        self.assertIn(f"{report['eps_mse']['mean']:.6f}", text)

    def test_bits_per_dimension(self):
        all_steps = self.eval_json("nll", "run")
        self.assertEqual(all_steps["draws"], 49, "T - 1, fewer than 100")
        self.assertEqual((all_steps["data"]["split"], all_steps["variance"]), ("test", "fixed_small"))
        bits = all_steps["bits_per_dim"]
        parts = all_steps["prior"] + all_steps["kl_terms"] + all_steps["first_term"]
        self.assertAlmostEqual(bits["mean"], parts, places=9)
        few = self.eval_json("nll", "run", "--draws", 10, "--batch", 9)
        self.assertLess(abs(few["bits_per_dim"]["mean"] - bits["mean"]),
                        5 * few["bits_per_dim"]["standard_error"])
        self.assertGreater(few["bits_per_dim"]["standard_error"], bits["standard_error"])
        text = self.run_ok("eval", "nll", "run", "-q").stdout
        self.assertIn(f"{bits['mean']:.4f} +- {bits['standard_error']:.4f} bits per dimension", text)
        self.refuse(["eval", "nll", "run", "--draws", 50], "variational_bound", "num_draws", "49")

    def test_other_images(self):
        self.write_images("photos", 12, side=16)
        report = self.eval_json("loss", "run", "--data", "photos")
        self.assertEqual((report["data"]["images"], report["data"]["split"]), (12, "all"))
        self.assertEqual(self.eval_json("loss", "run", "--data", "photos", "-n", 5)["data"]["images"], 5)
        held = self.eval_json("loss", "run", "--data", "photos", "--set", "data.held_out_fraction=0.5")
        rest = self.eval_json("loss", "run", "--data", "photos:train", "--set",
                              "data.held_out_fraction=0.5")
        self.assertEqual(held["data"]["images"] + rest["data"]["images"], 12)
        self.assertEqual((held["data"]["split"], rest["data"]["split"]), ("test", "train"))
        train = self.eval_json("loss", "run", "--data", "tiny.toml:train")
        self.assertEqual(train["data"]["split"], "train")
        self.assertNotEqual(train["eps_mse"], self.eval_json("loss", "run")["eps_mse"])

    def test_what_eval_loss_refuses(self):
        self.train_classifier()
        self.write_samples("wide.npz", 4, side=16)
        self.write_samples("one.npz", 1)
        self.write_images("photos", 4)
        self.write("photos.toml", '[data]\nkind = "folder"\npath = "photos"\nimage_size = 8\n')
        self.refuse(["eval"], "subcommand")
        self.refuse(["eval", "loss", "absent"], "absent")
        self.refuse(["eval", "loss", "classifier"], "classifier")
        self.refuse(["eval", "loss", "run", "--data", "absent"], "absent")
        self.refuse(["eval", "loss", "run", "--data", "wide.npz"], "wide.npz", "8 x 8 x 1", "16 x 16 x 1")
        self.refuse(["eval", "loss", "run", "--data", "one.npz"], "at least 2")
        self.refuse(["eval", "loss", "run", "--data", "photos.toml"], "photos.toml", "held_out_fraction")
        self.refuse(["eval", "loss", "run", "--data", "photos:test"], "held_out_fraction")
        self.refuse(["eval", "loss", "run", "--draws", 51], "num_draws", "50")
        self.refuse(["eval", "loss", "run", "--batch", 0], "--batch")
        self.refuse(["eval", "loss", "run", "--set", "data.sice=3"], "image_size")
        for field in ("data.split=train", "data.path=photos", "train.steps=3", "data.horizontal_flip=true", "x"):
            self.refuse(["eval", "loss", "run", "--set", field], "--set", field)
        self.refuse(["eval", "loss", "run", "--data", "wide.npz", "--set", "data.held_out_fraction=0.1"],
                    "held_out_fraction")
        self.train_tiny("enlarger", "train.super_resolution=2")
        self.refuse(["eval", "loss", "enlarger"], "enlarger", "enlarges images 2 times")

    def test_distances_of_samples(self):
        self.train_classifier()
        self.write_samples("noise.npz", 64)
        self.run_ok("sample", "run", "-n", 64, "--steps", 5, "-q", "-o", "samples.npz", "-o", "samples")
        report = self.eval_json("frechet", "samples.npz", "samples", "tiny.toml", "tiny.toml:test",
                                "noise.npz", "tiny.toml", "--classifier", "classifier")
        self.assertEqual(report["metric"], "Frechet distance on classifier features (not FID)")
        info = json.loads(self.run_ok("info", "classifier", "--json").stdout)
        self.assertEqual(report["classifier"]["hash"], info["hash"][:12])
        self.assertEqual(report["classifier"]["features"], 16)
        self.assertEqual((report["reference"]["split"], report["reference"]["images"]), ("train", 64))
        array, folder, same, held_out, noise = report["sets"]
        self.assertEqual(array["frechet_distance"], folder["frechet_distance"], "PNG or array")
        self.assertLess(same["frechet_distance"], 1e-9)
        self.assertLess(held_out["frechet_distance"], noise["frechet_distance"])
        self.assertLess(held_out["kernel_distance"]["mean"], noise["kernel_distance"]["mean"])
        self.assertEqual(held_out["samples"]["split"], "test")
        self.assertEqual(noise["kernel_distance"]["subset_size"], 32)
        self.assertEqual(noise["kernel_distance"]["seed"], 0)
        self.assertEqual(noise["notes"], [])
        self.assertIn("as stored", noise["samples"]["preprocessing"])
        self.assertIn("other sizes: fit crop", folder["samples"]["preprocessing"])
        few = self.eval_json("frechet", "samples.npz", "tiny.toml", "-n", 16, "--classifier", "classifier",
                             "--subsets", 3, "--subset-size", 9)["sets"][0]
        self.assertEqual(few["samples"]["images"], 16)
        self.assertEqual((few["kernel_distance"]["subsets"], few["kernel_distance"]["subset_size"]), (3, 9))
        self.assertIn("16", few["notes"][0])
        text = self.run_ok("eval", "frechet", "noise.npz", "tiny.toml", "--classifier", "classifier").stdout
        self.assertIn("not FID", text)
        self.assertIn(f"{noise['frechet_distance']:.6g}", text)
        self.assertIn("standard deviation", text)
        self.assertIn("as stored", text, "other than the drawn reference")

    def test_distances_of_a_folder_held_out_next_to_an_array(self):
        self.train_classifier()
        self.write_samples("noise.npz", 16)
        self.write_images("photos", 60)
        split = ["--set", "data.held_out_fraction=0.4", "--classifier", "classifier"]
        report = self.eval_json("frechet", "noise.npz", "photos:test", "photos:train", *split)
        array, held_out = (each["samples"] for each in report["sets"])
        self.assertEqual((array["images"], array["split"], held_out["split"]), (16, "all", "test"))
        self.assertEqual(held_out["images"] + report["reference"]["images"], 60)
        self.assertEqual(report["set"], ["data.held_out_fraction=0.4"])
        counts = [note for note in report["sets"][1]["notes"] if "the first set has 16" in note]
        self.assertEqual(len(counts), 1, report["sets"][1]["notes"])
        self.refuse(["eval", "frechet", "noise.npz", "tiny.toml", *split], "held_out_fraction", "shapes")

    def test_what_eval_frechet_refuses(self):
        self.train_classifier()
        self.write_samples("noise.npz", 4)
        self.write_samples("one.npz", 1)
        self.write_samples("colour.npz", 4, channels=3)
        end = ["--classifier", "classifier", "-q"]
        self.refuse(["eval", "frechet", "noise.npz", "tiny.toml"], "--classifier")
        self.refuse(["eval", "frechet", "noise.npz", *end], "reference")
        self.refuse(["eval", "frechet", "noise.npz", "tiny.toml", "--classifier", "run"], "expected a classifier",
                    "unet2d")
        self.refuse(["eval", "frechet", "one.npz", "tiny.toml", *end], "one.npz", "at least 2")
        self.refuse(["eval", "frechet", "colour.npz", "tiny.toml", *end], "colour.npz", "8 x 8 x 3")
        self.refuse(["eval", "frechet", "noise.npz:test", "tiny.toml", *end], "noise.npz", "npz")
        self.refuse(["eval", "frechet", "noise.npz", "tiny.toml", "--subset-size", 5, *end], "--subset-size", "noise.npz",
                    "4")
        self.refuse(["eval", "frechet", "noise.npz", "tiny.toml", "--subset-size", 1, *end], "--subset-size")
        self.refuse(["eval", "frechet", "noise.npz", "tiny.toml", "--subsets", 0, *end], "--subsets")
        self.refuse(["eval", "frechet", "absent", "tiny.toml", *end], "absent")
        whole = (self.folder / "noise.npz").read_bytes()
        self.write("cut.npz", whole[:-30])
        self.refuse(["eval", "frechet", "cut.npz", "tiny.toml", *end], "cut.npz", code=1)


if __name__ == "__main__":
    program.main()
