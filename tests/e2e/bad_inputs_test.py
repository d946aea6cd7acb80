"""Bad input gets one sentence, exit code 2 (the caller's mistake) or 1 (the machine's), and leaves nothing."""
import gzip
import os
import resource
import shutil
import signal
import struct
import unittest
import zlib

import program


def png(width=4, height=4, data=None):
    def chunk(kind, body):
        return (struct.pack(">I", len(body)) + kind + body +
                struct.pack(">I", zlib.crc32(kind + body)))
    rows = data if data is not None else b"".join(b"\0" + b"\x80" * 3 * width for _ in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def idx(count=2, rows=4, columns=4, magic=0x803):
    return struct.pack(">IIII", magic, count, rows, columns) + b"\x40" * (count * rows * columns)


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text)) + text + data


class BadInputsTest(program.ProgramTest):
    """Each test lists (arguments, exit code, words that the sentence must hold)."""

    def refuse(self, arguments, code, *words, **kwargs):
        before = {path: path.stat().st_size for path in self.folder.rglob("*") if path.is_file()}
        done = program.run(*arguments, cwd=self.folder, **kwargs)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        lines = [line for line in done.stderr.splitlines() if line.startswith("ddpm: ")]
        self.assertEqual(len(lines), 1, f"{arguments}: {done.stderr}")
        self.assertEqual(done.stderr.strip().splitlines()[-1], lines[0], done.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        after = {path: path.stat().st_size for path in self.folder.rglob("*") if path.is_file()}
        self.assertEqual(before, after, f"{arguments} left files")

    def recipe_with(self, *lines):
        return self.write("bad.toml", "\n".join(lines) + "\n")

    def test_flags(self):
        self.refuse([], 2)
        self.refuse(["trian"], 2)
        self.refuse(["train"], 2)
        self.refuse(["train", "tiny.toml", "--bogus"], 2, "--bogus")
        self.refuse(["train", "tiny.toml", "--set", "train.stepz=3"], 2, "train.stepz", "train.steps")
        self.refuse(["train", "tiny.toml", "--set", "train.steps"], 2, "train.steps")
        self.refuse(["train", "tiny.toml", "--set", "train.steps=many"], 2, "train.steps")
        self.refuse(["train", "tiny.toml", "--set", "train.device=tpu"], 2, "tpu")
        self.refuse(["train", "tiny.toml", "--resume"], 2, "resume")

    def test_recipes(self):
        self.refuse(["train", "missing.toml"], 2, "missing.toml")
        self.recipe_with("[train", "steps = 1")
        self.refuse(["train", "bad.toml"], 2, "bad.toml:1")
        self.recipe_with("[train]", "steps = 3", "batchsize = 4")
        self.refuse(["train", "bad.toml"], 2, "bad.toml:3", "batchsize", "batch_size")
        self.recipe_with("[train]", 'steps = "three"')
        self.refuse(["train", "bad.toml"], 2, "bad.toml:2", "steps")
        self.recipe_with("[train]", "steps = 0")
        self.refuse(["train", "bad.toml"], 2, "bad.toml:2", "steps")
        self.recipe_with("[diffusion]", 'schedule = "sigmoid"')
        self.refuse(["train", "bad.toml"], 2, "bad.toml:2", "sigmoid_beta")
        self.recipe_with("[train]", "batch_size = 8", "accumulation = 3")
        self.refuse(["train", "bad.toml", "--set", "data.kind=shapes"], 2, "accumulation")
        for more in ([], ["--dry-run"]):
            self.refuse(["train", "tiny.toml", "--set", "data.split=test", *more], 2, "data.split", "train",
                        "got test")
        self.refuse(["train", "tiny.toml", "--set", "diffusion.beta_start=2"], 2, "beta_start")
        self.refuse(["train", "tiny.toml", "--set", "diffusion.zero_terminal_snr=true"], 2,
                    "zero_terminal_snr")
        self.refuse(["train", "tiny.toml", "--set", "diffusion.schedule=custom"], 2, "betas")

    def test_networks(self):
        self.refuse(["train", "tiny.toml", "--set", "model.unet2d.norm_num_groups=5"], 2, "norm_num_groups")
        self.refuse(["train", "tiny.toml", "--set", "model.unet2d.block_out_channels=[8]"], 2,
                    "block_out_channels")
        self.refuse(["train", "tiny.toml", "--set", "model.unet2d.act_fn=gelu"], 2, "act_fn")
        self.refuse(["train", "tiny.toml", "--set", "model.kind=simple_unet"], 2, "16")

    def test_images(self):
        folder = ["train", "tiny.toml", "--set", "data.kind=folder", "--set", "data.path=images"]
        self.refuse(folder, 2, "images")
        (self.folder / "images").mkdir()
        self.refuse(folder, 2, "images")
        self.write("images/broken.png", png()[:50])
        self.refuse(folder, 1, "broken.png")
        self.refuse([*folder, "--set", "data.on_damaged=skip"], 1, "broken.png")
        self.write("images/broken.png", png(60000, 60000, b""))
        self.refuse(folder, 1, "broken.png")
        self.write("images/broken.png", b"not an image")
        self.refuse(folder, 1, "broken.png")
        self.refuse(["forward", "images/broken.png", "-o", "out.png"], 1, "broken.png")
        self.refuse(["forward", "absent.png", "-o", "out.png"], 2, "absent.png")

    def test_idx_files(self):
        train = ["train", "tiny.toml", "--set", "data.kind=idx", "--set",
                 "data.path=x-images-idx3-ubyte"]
        self.refuse(train, 2, "x-images-idx3-ubyte")
        self.write("x-images-idx3-ubyte", idx())
        self.refuse(train, 2, "x-labels-idx1-ubyte")
        self.write("x-labels-idx1-ubyte", struct.pack(">II", 0x801, 2) + b"\0\1")
        too_many = struct.pack(">IIII", 0x803, 2**31 - 1, 4, 4) + b"\x40" * 32
        for bad in (b"", idx()[:10], idx()[:-1], idx() + b"\0", idx(magic=0x1234), too_many):
            self.write("x-images-idx3-ubyte", bad)
            self.refuse(train, 1, "x-images-idx3-ubyte")
        self.write("x-images-idx3-ubyte.gz", gzip.compress(idx())[:-12])
        self.refuse([*train, "--set", "data.path=x-images-idx3-ubyte.gz"], 1, "x-images-idx3-ubyte.gz")

    def test_safetensors_and_model_folders(self):
        model = self.train_tiny() / "model"
        weights = model / "unet" / "diffusion_pytorch_model.safetensors"
        good = weights.read_bytes()
        sample = ["sample", model, "-n", 1, "--steps", 2, "-o", "out.png"]
        for bad in (b"", good[:7], good[:-1], good + b"\0", struct.pack("<Q", 2**60) + good[8:],
                    safetensors("[]"), safetensors('{"a":1}'), safetensors(b"\xff\xfe{}"),
                    safetensors('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', b"\0" * 4)):
            weights.write_bytes(bad)
            self.refuse(sample, 1, "diffusion_pytorch_model.safetensors")
        weights.write_bytes(
            safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4))
        self.refuse(sample, 2, "tensor is missing: expected 'conv_in.weight'")
        weights.unlink()
        self.refuse(sample, 2, "diffusion_pytorch_model.safetensors")
        weights.write_bytes(good)
        config = model / "unet" / "config.json"
        text = config.read_text()
        config.write_text(text.replace('"layers_per_block"', '"layers_per_blocks"'))
        self.refuse(sample, 2, "layers_per_blocks")
        config.write_text("{")
        self.refuse(sample, 1, "config.json")
        config.write_text(text)
        self.refuse(["sample", "nowhere", "-o", "out.png"], 2, "nowhere")
        self.refuse(["sample", model, "--steps", 51, "-o", "out.png"], 2, "50", "51")
        self.refuse(["sample", model, "-n", 0, "-o", "out.png"], 2)
        self.refuse(["sample", model, "--class", "trouser", "-o", "out.png"], 2, "trouser")
        self.refuse(["sample", model, "--sampler", "magic", "-o", "out.png"], 2, "--sampler", "magic")
        for word in ("fp64", "0", "99"):
            self.refuse(["sample", model, "--precision", word, "-o", "out.png"], 2, "--precision", "bf16", word)
        self.refuse(["sample", model, "--eta", "2", "-o", "out.png"], 2, "--eta", "got 2")
        self.refuse(["sample", model, "--seed", "-1", "-o", "out.png"], 2, "--seed", "-1")
        self.refuse(["sample", model, "--columns", "-2", "-o", "out.png"], 2, "--columns", "-2")
        self.refuse(["sample", model, "--scale", "100000", "-o", "out.png"], 2, "--scale", "100000")
        self.refuse(["info", model, "--set", "train.steps=3"], 2, "--set")
        self.refuse(["info", self.recipe, "--tensors"], 2, "--tensors")
        self.refuse(["forward", model, "-o", "out.png"], 2, "a folder")
        self.refuse(["forward", self.recipe, "--size", "9", "-o", "out.png"], 2, "--size", "image file")
        self.refuse(["sample", model, "-o", "out.bmp"], 2, "out.bmp")
        self.refuse(["sample", model, "-n", 1, "--steps", 2, "-o", "absent/out.png"], 1, "absent")
        self.assertEqual(program.run(*sample, cwd=self.folder).returncode, 0)

    def test_runs_and_checkpoints(self):
        run = self.train_tiny()
        self.refuse(["train", "tiny.toml", "-o", "run"], 2, "run", "--overwrite")
        newest = run / "checkpoints" / "step-00000020"
        victim = sorted(newest.glob("*.safetensors"))[0]
        content = bytearray(victim.read_bytes())
        content[-1] ^= 1
        victim.write_bytes(content)
        resume = ["train", "tiny.toml", "-o", "run", "--resume", "--set", "train.steps=25"]
        self.refuse(resume, 1, victim.name, "--allow-older")
        self.run_ok(*resume, "--allow-older")
        shutil.rmtree(run / "checkpoints")
        self.refuse(resume, 2, "checkpoints")

    def test_disk_full_and_unwritable(self):
        # A process that may write only 64 KiB a file stands for a full disk: training goes on and says so.
        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        done = program.run("train", self.recipe, "-o", "run", "--set", "train.steps=12",
                           cwd=self.folder, preexec_fn=small_files)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("checkpoint", done.stderr)
        self.assertFalse(list((self.folder / "run").rglob("*.safetensors")), "half a checkpoint is left")
        self.assertIn('"step":10', (self.folder / "run" / "metrics.jsonl").read_text().replace(" ", ""))
        self.write("a_file", "")
        self.refuse(["train", "tiny.toml", "-o", "a_file/run"], 1, "a_file")
        if os.geteuid() != 0:
            (self.folder / "closed").mkdir(mode=0o500)
            self.refuse(["train", "tiny.toml", "-o", "closed/run"], 1, "closed")


if __name__ == "__main__":
    program.main()
