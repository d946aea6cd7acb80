"""ddpm convert and ddpm info on pickled, safetensors and model-folder weights, made by PyTorch and diffusers."""
import json
import pickle
import unittest
import zipfile

import PIL.Image
import torch
from safetensors.torch import load_file, save_file

import program
from talk_networks import SimpleUnet

TALK_PARAMETERS = 62_438_883


class Hostile:
    """Pickles to a call of the system's shell."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os
        return os.system, (f"touch {self.path}",)


class ConvertTest(program.ProgramTest):
    @classmethod
    def setUpClass(cls):
        torch.manual_seed(0)
        cls.network = SimpleUnet()

    def refuse(self, arguments, code, *words):
        before = sorted(self.folder.rglob("*"))
        done = program.run(*arguments, cwd=self.folder)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(before, sorted(self.folder.rglob("*")), f"{arguments} left files")

    def assert_tensors(self, path, expected):
        got = load_file(path)
        self.assertEqual(sorted(got), sorted(expected))
        for name, tensor in expected.items():
            self.assertEqual(got[name].dtype, tensor.dtype, name)
            self.assertTrue(torch.equal(got[name], tensor.detach().contiguous()), name)

    def save_small(self, name, content=None, **options):
        content = content or {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
        torch.save(content, self.folder / name, **options)
        return content

    def test_the_talks_pickle_becomes_a_model_that_samples(self):
        expected = self.network.state_dict()
        torch.save(expected, self.folder / "simple_unet.pth", pickle_protocol=2)
        done = self.run_ok("convert", "simple_unet.pth", "talk_model")
        self.assertIn("T = 300", done.stdout)
        self.assertIn("64 x 64", done.stdout)
        model = self.folder / "talk_model"
        self.assert_tensors(model / "unet" / "diffusion_pytorch_model.safetensors", expected)
        info = json.loads(self.run_ok("info", "talk_model", "--json").stdout)
        self.assertEqual(info["diffusion"]["num_timesteps"], 300)
        self.assertEqual(info["kind"], "simple_unet")
        self.run_ok("sample", "talk_model", "-n", 1, "--steps", 2, "--scale", 1, "--columns", 1,
                    "-o", "images", timeout=300)
        with PIL.Image.open(self.folder / "images" / "000000.png") as picture:
            self.assertEqual((picture.size, picture.mode), ((64, 64), "RGB"))
        self.refuse(["convert", "simple_unet.pth", "talk_model"], 2, "talk_model", "overwritten")
        self.run_ok("convert", "simple_unet.pth", "talk_model", "--overwrite", "--image-size", 32,
                    "--set", "diffusion.num_timesteps=1000", "--set", "diffusion.schedule=cosine")
        info = json.loads(self.run_ok("info", "talk_model", "--json").stdout)
        self.assertEqual((info["diffusion"]["num_timesteps"], info["diffusion"]["schedule"]),
                         (1000, "cosine"))

    def test_a_training_checkpoint_of_the_older_layout_in_bfloat16(self):
        expected = {"module." + name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
                    for name, tensor in self.network.state_dict().items()}
        torch.save({"epoch": 5, "loss": 0.1, "model_state_dict": expected}, self.folder / "epoch5.pt",
                   pickle_protocol=5, _use_new_zipfile_serialization=False)
        info = json.loads(self.run_ok("info", "epoch5.pt", "--json").stdout)
        statistics = sum(tensor.numel() for name, tensor in expected.items() if "running" in name)
        self.assertEqual(info["kind"], "simple_unet")
        self.assertEqual(info["elements_of_type"], {"BFloat16": TALK_PARAMETERS + statistics, "Long": 16})
        self.run_ok("convert", "epoch5.pt", "model")
        self.assert_tensors(self.folder / "model" / "unet" / "diffusion_pytorch_model.safetensors",
                            {name.removeprefix("module."): tensor for name, tensor in expected.items()})

    def test_any_state_dict_becomes_safetensors(self):
        for number, options in enumerate(({"pickle_protocol": protocol, "_use_new_zipfile_serialization": new}
                                          for protocol in (2, 5) for new in (False, True))):
            expected = self.save_small(f"{number}.pth", **options)
            self.run_ok("convert", f"{number}.pth", f"{number}.safetensors")
            self.assert_tensors(self.folder / f"{number}.safetensors", expected)
        both = {"model": expected, "ema": {name: tensor + 1 for name, tensor in expected.items()}}
        self.save_small("both.pth", both)
        self.refuse(["convert", "both.pth", "x.safetensors"], 2, "'model' 'ema'")
        self.refuse(["info", "both.pth"], 2, "'model' 'ema'")
        self.run_ok("convert", "both.pth", "ema.safetensors", "--key", "ema")
        self.assert_tensors(self.folder / "ema.safetensors", both["ema"])
        self.refuse(["convert", "both.pth", "ema.safetensors", "--key", "model"], 2, "overwritten")
        self.run_ok("convert", "both.pth", "ema.safetensors", "--key", "model", "--overwrite")
        self.assert_tensors(self.folder / "ema.safetensors", expected)

    def test_info_shows_a_table_of_tensors(self):
        self.save_small("small.pth")
        table = self.run_ok("info", "small.pth", "--tensors").stdout
        for word in ("a.weight", "[2,3]", "Float", "elements", "not said"):
            self.assertIn(word, table)
        self.run_ok("convert", "small.pth", "small.safetensors")
        tables = [json.loads(self.run_ok("info", name, "--tensors", "--json").stdout)
                  for name in ("small.pth", "small.safetensors")]
        self.assertEqual(tables[0]["table"][0]["elements"], 6)
        self.assertEqual({row["name"]: row for row in tables[0]["table"]},
                         {row["name"]: row for row in tables[1]["table"]})

    def test_runs_checkpoints_and_model_folders_round_trip(self):
        run = self.train_tiny()
        weights = "unet/diffusion_pytorch_model.safetensors"
        expected = (run / "model" / weights).read_bytes()
        self.run_ok("convert", "run", "from_run")
        self.run_ok("convert", "run/checkpoints/step-00000020", "from_checkpoint")
        self.run_ok("convert", "run/model", "from_model")
        for name in ("from_run", "from_checkpoint", "from_model"):
            for path in (weights, "unet/config.json", "scheduler/scheduler_config.json"):
                self.assertEqual((self.folder / name / path).read_bytes(), (run / "model" / path).read_bytes())
        self.run_ok("convert", "from_model", "weights.safetensors")
        self.assertEqual((self.folder / "weights.safetensors").read_bytes(), expected)
        self.run_ok("convert", "run", "raw.safetensors", "--raw-weights")
        self.assertNotEqual((self.folder / "raw.safetensors").read_bytes(), expected)
        for config in (["--config", "tiny.toml"],
                       ["--config", "run/model/unet/config.json",
                        "--scheduler-config", "run/model/scheduler/scheduler_config.json"]):
            self.run_ok("convert", "weights.safetensors", "again", "--overwrite", *config)
            for name in ("run/model", "again"):
                self.run_ok("sample", name, "-n", 2, "--steps", 4, "-o", f"{name.replace('/', '_')}.npz")
            self.assertEqual((self.folder / "again.npz").read_bytes(),
                             (self.folder / "run_model.npz").read_bytes())

    def test_a_scheduler_of_diffusers_is_written_and_sampled_from(self):
        from diffusers import DDPMPipeline, DPMSolverMultistepScheduler
        self.train_tiny()
        self.run_ok("convert", "run", "fast", "--scheduler", "dpmpp_2m")
        self.assertIsInstance(DDPMPipeline.from_pretrained(self.folder / "fast").scheduler,
                              DPMSolverMultistepScheduler)
        self.assertEqual(json.loads(self.run_ok("info", "fast", "--json").stdout)["scheduler"],
                         "DPMSolverMultistepScheduler")
        self.run_ok("convert", "fast", "again")
        path = "scheduler/scheduler_config.json"
        self.assertEqual((self.folder / "again" / path).read_bytes(), (self.folder / "fast" / path).read_bytes())
        for name, flags, sampler in (("fast", [], "dpmpp_2m"), ("fast", ["--sampler", "ddim"], "ddim"),
                                     ("run", [], "ddim")):
            self.run_ok("sample", name, "-n", 1, "--steps", 3, "-o", "a.png", *flags)
            with PIL.Image.open(self.folder / "a.png") as picture:
                self.assertEqual(picture.text["ddpm.sampler"], sampler)
        done = self.run_ok("convert", "run", "euler", "--scheduler", "euler")
        self.assertIn("no place for the clipping", done.stdout)
        self.refuse(["convert", "run", "x.safetensors", "--scheduler", "euler"], 2, "--scheduler", "x.safetensors")
        self.refuse(["convert", "run", "x", "--scheduler", "dpmpp_9m"], 2, "dpmpp_9m")

    def test_diffusers_weights_saved_with_torch_save(self):
        from diffusers import UNet2DModel
        torch.manual_seed(1)
        network = UNet2DModel(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16),
                              down_block_types=("DownBlock2D", "AttnDownBlock2D"), layers_per_block=1,
                              up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=4)
        network.save_config(self.folder / "unet")
        torch.save(network.state_dict(), self.folder / "unet.pt")
        self.refuse(["convert", "unet.pt", "model"], 2, "--config")
        done = self.run_ok("convert", "unet.pt", "model", "--config", "unet/config.json")
        self.assertIn("no file says the diffusion", done.stdout)
        self.assert_tensors(self.folder / "model" / "unet" / "diffusion_pytorch_model.safetensors",
                            network.state_dict())
        self.run_ok("sample", "model", "-n", 1, "--steps", 2, "-o", "a.png")

    def test_pickled_networks_and_code_are_named_and_not_run(self):
        torch.save(torch.nn.Linear(2, 2), self.folder / "module.pth")
        for command in (["convert", "module.pth", "model"], ["info", "module.pth"]):
            self.refuse(command, 2, "module.pth", "torch.nn.modules.linear.Linear", "state_dict")
        touched = self.folder / "touched"
        torch.save({"a": Hostile(touched)}, self.folder / "hostile.pth")
        self.refuse(["convert", "hostile.pth", "x.safetensors"], 2, "posix.system")
        (self.folder / "plain.pth").write_bytes(pickle.dumps({"a": 1}))
        self.refuse(["info", "plain.pth"], 1, "plain.pth", "torch.save")
        self.assertFalse(touched.exists())

    def test_bad_inputs(self):
        expected = self.save_small("small.pth")
        whole = (self.folder / "small.pth").read_bytes()
        self.write("cut.pth", whole[:-50])
        self.write("empty.pth", b"")
        self.write("text.pth", b"not a pickle")
        with zipfile.ZipFile(self.folder / "other.pth", "w") as archive:
            archive.writestr("readme.txt", "hello")
        for name in ("cut.pth", "empty.pth", "text.pth", "other.pth"):
            self.refuse(["convert", name, "x.safetensors"], 1, name)
        self.refuse(["convert", "absent.pth", "x.safetensors"], 2, "absent.pth")
        self.refuse(["convert", "absent", "x"], 2, "absent")
        self.refuse(["convert", "small.pth", "x.onnx"], 2, ".onnx")
        self.refuse(["convert", "small.pth", "x"], 2, "small.pth", "--config")
        self.refuse(["convert", "small.pth", "x", "--config", "absent.json"], 2, "absent.json")
        self.refuse(["convert", "small.pth", "x", "--config", "small.pth"], 2, "config.json")
        self.refuse(["convert", "small.pth", "x", "--config", "tiny.toml"], 2, "small.pth", "conv_in")
        self.refuse(["convert", "small.pth", "x.safetensors", "--key", "ema"], 2, "ema")
        self.refuse(["convert", "small.pth", "small.safetensors", "--raw-weights"], 2, "raw")
        save_file(expected, self.folder / "small.safetensors")
        self.refuse(["convert", "small.safetensors", "x.safetensors", "--key", "ema"], 2, "key")
        broken = {name: tensor for name, tensor in self.network.state_dict().items()
                  if name != "output.bias"}
        torch.save(broken, self.folder / "broken.pth")
        self.refuse(["convert", "broken.pth", "x"], 2, "broken.pth", "output.bias")
        self.refuse(["convert", "broken.pth", "x", "--num-heads", 4], 2, "improved-diffusion")
        self.refuse(["convert", "broken.pth", "x", "--set", "diffusion.num_timestep=3"], 2,
                    "num_timesteps")


if __name__ == "__main__":
    program.main()
