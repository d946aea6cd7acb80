"""Installs the build, builds the consumer project against it, trains two steps and samples with it.

    python tests/consumer/run_consumer.py BUILD_FOLDER
"""
import os
import pathlib
import subprocess
import sys
import tempfile

build = pathlib.Path(sys.argv[1]).resolve()
source = pathlib.Path(__file__).resolve().parent
cache = dict(line.split("=", 1) for line in (build / "CMakeCache.txt").read_text().splitlines()
             if "=" in line and not line.startswith(("#", "//")))
torch_dir = next(value for name, value in cache.items() if name.startswith("Torch_DIR:"))

readme = (source.parents[1] / "README.md").read_text()
example = (source / "readme_example.cpp").read_text()
assert example.strip() in readme, "README.md does not show tests/consumer/readme_example.cpp"

with tempfile.TemporaryDirectory(prefix="ddpm-consumer-") as name:
    folder = pathlib.Path(name)

    def run(*command):
        print("+", *command, flush=True)
        subprocess.run(list(map(str, command)), check=True, cwd=folder,
                       env={**os.environ, "CCACHE_BASEDIR": name})

    run("cmake", "--install", build, "--prefix", folder / "installed")
    run("cmake", "-S", source, "-B", folder / "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
        f"-DTorch_DIR={torch_dir}", f"-DCMAKE_PREFIX_PATH={folder / 'installed'}")
    run("cmake", "--build", folder / "build")
    run(folder / "build" / "train_and_sample", "run")
    run(folder / "build" / "readme_example", "run")
    assert (folder / "samples.png").read_bytes().startswith(b"\x89PNG"), "no picture came out"
    run(folder / "installed" / "bin" / "ddpm", "info", "run")
