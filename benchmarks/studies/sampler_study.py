"""Do all samplers, with few and with many steps, draw from the same distribution? Samples a trained model with each and
compares with ancestral sampling over all timesteps.

    ddpm train recipes/fashion_mnist.toml --set data.path=DATA -o runs/garments
    ddpm train recipes/fashion_mnist_classifier.toml --set data.path=DATA -o runs/classifier
    python3 benchmarks/studies/sampler_study.py --model runs/garments --classifier runs/classifier --out study

Every set has its own seed. Compared are the mean and the standard deviation of all pixels, and the Frechet distance of
the classifier's features (not FID) to the ancestral set; the first row is a second ancestral set: what chance leaves.
Each set is drawn as a picture too, since that refuses NaN, where an .npz does not, and stops this program.
"""
import argparse
import collections
import json
import math
import pathlib
import shlex
import subprocess
import zipfile

import workers

REFERENCE_STEPS = 1000
SAMPLERS = ["ddpm", "ddim", "euler", "euler_a", "heun", "dpmpp_2s", "dpmpp_3s", "dpmpp_2m", "dpmpp_3m", "dpmpp_2m_sde",
            "dpmpp_3m_sde", "dpm_2s", "dpm_3s", "unipc", "deis", "lms", "pndm", "plms"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/apps/ddpm/ddpm")
    parser.add_argument("--model", required=True)
    parser.add_argument("--classifier", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=SAMPLERS)
    parser.add_argument("--flags", default="", help="more of `ddpm sample`, for all but the ancestral reference")
    parser.add_argument("--batch", type=int, default=1000, help="images at a time")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20, 50, 100, 1000])
    workers.add_arguments(parser)
    return parser.parse_args()


def pixels(path):
    """All bytes of an .npz's images."""
    with zipfile.ZipFile(path) as archive:
        data = archive.read("arr_0.npy")
    header = 10 + int.from_bytes(data[8:10], "little")
    return data[header:]


def moments(path):
    counts = collections.Counter(pixels(path))
    total = sum(counts.values())
    mean = sum(value * count for value, count in counts.items()) / total
    return mean, math.sqrt(sum((value - mean) ** 2 * count for value, count in counts.items()) / total)


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)

    pool = workers.Workers(args.workers, args.gpus)

    def draw(job):
        sampler, steps, seed = job
        path = args.out / f"{sampler}-{steps}-seed-{seed}.npz"
        if not path.exists():
            subprocess.run([args.program, "sample", args.model, "-n", str(args.samples), "--batch", str(args.batch),
                            "--sampler", sampler, "--steps", str(steps), "--seed", str(seed), "-q",
                            "-o", path.with_suffix(".png"), "-o", path,
                            *(shlex.split(args.flags) if seed > 1 else [])],
                           env=pool.environment(), stdout=subprocess.DEVNULL, check=True)
        return path

    most = REFERENCE_STEPS
    jobs = [("ddpm", most, 0), ("ddpm", most, 1)]
    jobs += [(sampler, steps, 2 + i) for sampler in args.samplers for i, steps in enumerate(args.steps)]
    jobs.sort(key=lambda job: -job[1])  # the long ones first
    paths = dict(zip(jobs, pool.map(draw, jobs)))
    reference = paths.pop(("ddpm", most, 0))
    sets = sorted(paths.items(), key=lambda item: (item[0][2] != 1, SAMPLERS.index(item[0][0]), item[0][1]))
    report = json.loads(subprocess.run(
        [args.program, "eval", "frechet", *[path for _, path in sets], reference, "--classifier", args.classifier,
         "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout)
    mean, deviation = moments(reference)
    print(f"reference: ddpm, {most} steps: mean {mean:.2f}, deviation {deviation:.2f}")
    print("| sampler | steps | mean | deviation | Frechet distance |\n|---|--:|--:|--:|--:|")
    for ((sampler, steps, _), path), measured in zip(sets, report["sets"]):
        mean, deviation = moments(path)
        print(f"| {sampler} | {steps} | {mean:.2f} | {deviation:.2f} | {measured['frechet_distance']:.4g} |")


if __name__ == "__main__":
    main()
