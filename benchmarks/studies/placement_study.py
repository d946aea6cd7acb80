"""Where should gates and self-attention stand in the talk's U-Net? Trains every placement of placements.py with every
seed on CIFAR-10 at 32x32 and measures each on images that no run has seen.

    python3 benchmarks/studies/placement_study.py --program build/gpu/apps/ddpm/ddpm \\
        --train cifar10/train --test cifar10/test --out study --workers 6

All networks have the same number of weights and of multiply-adds within 1%, and the same steps, batches, timesteps and
noise for a seed. What is measured: the held-out error of the predicted noise, at the same noise for every network; and
the Frechet distance of samples to the training images, on the features of a classifier trained here. That distance is
not FID: its features are another network's. `--out` keeps every run; one that is finished is not trained again, nor is
one of `--known`, a results.json of before with the same classifier.
"""
import argparse
import json
import math
import pathlib
import statistics
import subprocess
import time

import workers
from placements import BASE_WIDTHS, PLACEMENTS, cost, placements


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/apps/ddpm/ddpm")
    parser.add_argument("--train", required=True, help="folder of class folders")
    parser.add_argument("--test", required=True, help="the same, of other images")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    workers.add_arguments(parser)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--classifier-steps", type=int, default=3000)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--sample-steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no run after this long")
    parser.add_argument("--known", type=pathlib.Path, help="results.json whose runs are taken as they are")
    parser.add_argument("--set", action="append", default=[], help="for every run, as --set of ddpm train")
    return parser.parse_args()


def call(log, environment, *command):
    """Runs a command; its output goes to the file `log`, its standard output is returned."""
    done = subprocess.run([str(part) for part in command], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    with open(log, "a") as file:
        file.write(done.stdout + done.stderr)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command[:3]))}: {done.stderr[-500:]}")
    return done.stdout


class Study:
    def __init__(self, args):
        self.args = args
        self.begin = time.monotonic()
        self.recipe = pathlib.Path(__file__).with_name("placement_study.toml")
        self.classifier = args.out / "classifier"
        self.workers = workers.Workers(args.workers, args.gpus)

    def program(self, log, *command):
        return call(log, self.workers.environment(), self.args.program, *command)

    def train(self, folder, recipe, settings):
        pairs = [f"{key}={value}" for key, value in settings.items()] + self.args.set
        self.program(folder.with_suffix(".log"), "train", recipe, "-o", folder, "--overwrite",
                     *[part for pair in pairs for part in ("--set", pair)])

    def train_classifier(self):
        if not (self.classifier / "model").exists():
            self.train(self.classifier, "recipes/cifar10_classifier.toml",
                       {"data.kind": "folder", "data.path": self.args.train, "data.image_size": 32,
                        "train.steps": self.args.classifier_steps, "train.checkpoint_every": 0})

    def run(self, placement, seed):
        """Trains, samples and measures the loss; None if the time is up."""
        folder = self.args.out / f"placement-{PLACEMENTS.index(placement)}-seed-{seed}"
        log = folder.with_suffix(".log")
        loss = folder / "loss.json"
        if not loss.exists():
            if time.monotonic() - self.begin > self.args.seconds:
                return None
            self.train(folder, self.recipe, placement.settings() | {
                "train.seed": seed, "train.steps": self.args.steps, "data.path": self.args.train})
            self.program(log, "sample", folder, "-n", self.args.samples, "--seed", 1, "--sampler", "dpmpp_2m",
                         "--steps", self.args.sample_steps, "-q", "-o", folder / "samples.npz")
            loss.write_text(self.program(log, "eval", "loss", folder, "--data", self.args.test, "-n", 5000,
                                         "--draws", 8, "--json"))
        error = json.loads(loss.read_text())["eps_mse"]
        return {"placement": placement.name, "seed": seed, "held_out_error": error["mean"],
                "standard_error": error["standard_error"], "quarter_means": error["quarter_means"],
                "samples": str(folder / "samples.npz")}

    def measure_distances(self, runs):
        """Of all samples, and of the test images, to the training images."""
        answer = json.loads(self.program(
            self.args.out / "frechet.log", "eval", "frechet", *[run.pop("samples") for run in runs], self.args.test,
            self.args.train, "--classifier", self.classifier, "--set", "data.image_size=32", "--json"))
        distances = [{"frechet_distance": s["frechet_distance"], "kernel_distance": s["kernel_distance"]["mean"]}
                     for s in answer["sets"]]
        for run, measured in zip(runs, distances):
            run.update(measured)
        return {"classifier": answer["classifier"]["hash"], "test_images": distances[-1], "runs": runs}


def spread(values):
    """Mean and standard deviation over seeds, as text."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.5g} ± {deviation:.2g}"


def table(results):
    target = cost(PLACEMENTS[0], BASE_WIDTHS)
    yield "| placement | widths | weights | multiply-adds | held-out error | Frechet distance | seeds |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for p in placements():
        own = [r for r in results if r["placement"] == p.name]
        if not own:
            continue
        weights, macs = cost(p, p.widths)
        cells = [p.name, ", ".join(map(str, p.widths)),
                 f"{weights / target[0] - 1:+.1%}", f"{macs / target[1] - 1:+.1%}",
                 spread([r["held_out_error"] for r in own]), spread([r["frechet_distance"] for r in own]), len(own)]
        yield f"| {' | '.join(map(str, cells))} |"


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    study = Study(args)
    known = json.loads(args.known.read_text()) if args.known else {"runs": []}
    done = {(run["placement"], run["seed"]) for run in known["runs"]}
    jobs = [(p, seed) for seed in range(args.seeds) for p in placements() if (p.name, seed) not in done]
    study.train_classifier()
    runs = [run for run in study.workers.map(lambda job: study.run(*job), jobs) if run]
    results = study.measure_distances(runs)
    if known.get("classifier", results["classifier"]) != results["classifier"]:
        raise RuntimeError(f"{args.known} is of classifier {known['classifier']}, not {results['classifier']}")
    results["runs"] = known["runs"] + results["runs"]
    (args.out / "results.json").write_text(json.dumps(results, indent=1))
    print("\n".join(table(results["runs"])))
    print(f"test images: {results['test_images']['frechet_distance']:.5g}")


if __name__ == "__main__":
    main()
