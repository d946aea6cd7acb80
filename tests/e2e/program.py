"""Runs the ddpm program for the tests: python tests/e2e/X_test.py PATH_OF_DDPM [unittest options]."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

DDPM = ""

# A run that takes about a second: 8x8 shapes and a network of a few thousand parameters.
TINY_RECIPE = """
[data]
kind = "shapes"
image_size = 8
channels = 1
max_images = 64
horizontal_flip = true

[diffusion]
num_timesteps = 50
schedule = "cosine"

[model.unet2d]
block_out_channels = [8, 16]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
layers_per_block = 1
attention_head_dim = 8
norm_num_groups = 4
dropout = 0.1

[train]
steps = 20
batch_size = 8
accumulation = 2
log_every = 5
preview_every = 10
preview_images = 4
preview_steps = 3
checkpoint_every = 5
keep_checkpoints = 2
threads = 1
"""


def run(*arguments, cwd=None, timeout=120, **kwargs):
    """The finished process, with stdout and stderr as text."""
    return subprocess.run([DDPM, *map(str, arguments)], cwd=cwd, timeout=timeout, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)


class ProgramTest(unittest.TestCase):
    """A test with a folder of its own, and the tiny recipe in it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ddpm-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.recipe = self.write("tiny.toml", TINY_RECIPE)

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run_ok(self, *arguments, **kwargs):
        done = run(*arguments, cwd=self.folder, **kwargs)
        self.assertEqual(done.returncode, 0, f"ddpm {arguments}: {done.stderr[-2000:]}")
        return done

    def train_tiny(self, run_folder="run", *overrides):
        sets = [item for override in overrides for item in ("--set", override)]
        self.run_ok("train", self.recipe, "-o", run_folder, *sets)
        return self.folder / run_folder

    @classmethod
    def trainer_of_class(cls):
        """A test whose folder lives as long as the class: to train once what all its tests read."""
        trainer = ProgramTest()
        trainer.setUp()
        cls.addClassCleanup(trainer.doCleanups)
        return trainer


def main():
    global DDPM
    DDPM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    # `import program` gives another module object than __main__: the tests use that one.
    unittest.main(module="__main__", verbosity=2)
