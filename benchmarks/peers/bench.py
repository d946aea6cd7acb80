"""Times steps of ddpm.cpp beside PyTorch's, in turns, in one run, and prints ratios.

    scripts/bench                                      all that this machine is compared by
    scripts/bench --work denoise/ddpm/8 --rounds 5     one work: KIND/NETWORK/BATCH
    scripts/bench --work train/ddpm/16 --mode bf16     only PyTorch's ways with 'bf16' in their name
    scripts/bench --mode reduce-overhead --mode way --rounds 2 --seconds 1 --program build/gpu/benchmarks/step_benchmark
                                                       on one GPU in some 8 minutes: compile at its best, the talk's way

Works: train or denoise; network ddpm (CIFAR-10 DDPM, 35.7M parameters, 32x32) or talk (the talk's SimpleUnet, 62.4M,
64x64); a batch. Both sides do the same: network, batch, optimizer, clipping, moving average. The talk's own way
leaves the average out, as the talk does. A floor is the network's convolutions alone.
"""
import argparse
import concurrent.futures
import json
import pathlib
import statistics
import subprocess
import sys

from contestants import WORKER, Failed, Ours, Peer
from works import DEVICE, Work, modes

BUILD = pathlib.Path(__file__).parents[2] / "build/release"
# The works this kind of machine is compared by, and the ratio to the best of PyTorch that is wanted.
TARGETS = {
    "cuda": {"train/ddpm/128": 2.0, "train/ddpm/512": 2.2, "denoise/ddpm/1": 3.0, "denoise/ddpm/64": 2.0,
             "denoise/ddpm/512": 1.7, "train/talk/128": 1.0, "denoise/talk/128": 1.0},
    "cpu": {"denoise/ddpm/1": 2.5, "denoise/ddpm/8": 1.8, "train/ddpm/16": 1.8},
}[DEVICE]
START_UP = "start-up"


def parse_work(name):
    kind, network, batch = name.split("/")
    return Work(kind, network, int(batch))


def contestants(work, options):
    precisions = options.precision or (["bf16"] if DEVICE == "cuda" else ["fp32", "bf16"])
    ours = [Ours(options.program, work, precision) for precision in precisions]
    chosen = [mode for mode in modes(DEVICE, work.network)
              if mode.floor or not options.mode or any(word in mode.name for word in options.mode)]
    return ours, [Peer(work, mode) for mode in chosen]


def fill_compile_cache(options):
    """Compiles all that torch.compile will be asked for, several at a time, and throws the processes away: later
    ones find the code in PyTorch's cache, and nothing disturbs their own searches."""
    peers = [peer for name in options.work if name != START_UP
             for peer in contestants(parse_work(name), options)[1] if peer.name.startswith("compile")]

    def fill(peer):
        try:
            peer.start()
        except Failed:
            pass  # it fails again, and says so, when it is timed
        finally:
            peer.stop()
    with concurrent.futures.ThreadPoolExecutor(options.parallel) as pool:
        list(pool.map(fill, peers))


def try_start(everyone):
    started = []
    for each in everyone:
        try:
            each.start()
            started.append(each)
        except Failed as failure:
            print(f"  failed: {failure}", flush=True)
    return started


def measure_in_turns(everyone, rounds, seconds):
    """name -> {"ms": [...], "peak_mib": ...}. In turns, so that a slow moment of the machine hits all."""
    found = {}
    for _ in range(rounds):
        for each in everyone:
            result = each.measure(seconds)
            known = found.setdefault(each.name, {"ms": [], "peak_mib": 0.0, "floor": each.is_floor})
            known["ms"] += result["ms"]
            known["peak_mib"] = max(known["peak_mib"], result["peak_mib"])
    return found


def median_ms(result):
    return statistics.median(result["ms"])


def best(results):
    return min(results.items(), key=lambda item: median_ms(item[1]), default=(None, None))


def print_results(work, results, row):
    print(f"{work.name:46}{'ms':>9}  {'[least, most]':18}{'img/s':>9}{'peak MiB':>10}{'to ours':>9}", flush=True)
    for name, result in results.items():
        ms = median_ms(result)
        spread = f"[{min(result['ms']):.2f}, {max(result['ms']):.2f}]"
        print(f"  {name:44}{ms:9.2f}  {spread:18}{1e3 * work.batch / ms:9.1f}{result['peak_mib']:10.0f}"
              f"{ms / row['ours_ms']:8.2f}x")
    target = f", wanted {row['target']}x" if row["target"] else ""
    print(f"  => {row['ratio'] or 0:.2f}x of {row['peer']}{target}; {row['floor'] or 'no floor'} takes "
          f"{100 * (row['floor_share'] or 0):.0f}% of our time\n", flush=True)


def compare(work, options):
    ours, peers = contestants(work, options)
    try:
        results = measure_in_turns(try_start([*ours, *peers]), options.rounds, options.seconds)
    finally:
        for peer in peers:
            peer.stop()
    of_ours = {each.name: results[each.name] for each in ours}
    our_name, our_best = best(of_ours)
    peer_name, peer_best = best({k: v for k, v in results.items() if k not in of_ours and not v["floor"]})
    same_precision = {k: v for k, v in results.items() if v["floor"] and k.endswith(our_name.split()[-1])}
    floor_name, floor = best(same_precision)
    row = {"work": work.name, "ours": our_name, "ours_ms": median_ms(our_best), "peer": peer_name,
           "peer_ms": peer_best and median_ms(peer_best), "floor": floor_name,
           "ratio": peer_best and median_ms(peer_best) / median_ms(our_best), "target": TARGETS.get(work.name),
           "floor_share": floor and median_ms(floor) / median_ms(our_best)}
    print_results(work, results, row)
    return {**row, "results": results}


def start_up_row(options):
    command = [sys.executable, WORKER.with_name("start_up.py"), options.ddpm]
    return json.loads(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)


def print_table(rows):
    print("| work | ours, ms | best of PyTorch, ms | ratio | wanted | the floor's share of ours |")
    print("|---|--:|--:|--:|--:|--:|")
    for row in rows:
        peer = f"{row['peer']}: {row['peer_ms']:.2f}" if row["peer"] else "-"
        share = f"{100 * row['floor_share']:.0f}%" if row["floor_share"] else "-"
        print(f"| {row['work']} | {row['ours'].removeprefix('ddpm.cpp ')}: {row['ours_ms']:.2f} | {peer} | "
              f"{row['ratio'] or 0:.2f}x | {row['target'] or '-'} | {share} |")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="what is done without --work, too")
    parser.add_argument("--work", action="append", help=f"KIND/NETWORK/BATCH or {START_UP}; may be repeated")
    parser.add_argument("--mode", action="append", help="only PyTorch's ways whose name holds this; may be repeated")
    parser.add_argument("--precision", action="append", choices=["fp32", "bf16"],
                        help="of ours; default: bf16 on a GPU, both on a CPU, where the better one counts")
    parser.add_argument("--program", default=str(BUILD / "benchmarks/step_benchmark"), help="step_benchmark")
    parser.add_argument("--ddpm", default=str(BUILD / "apps/ddpm/ddpm"), help="the ddpm program, for start-up")
    parser.add_argument("--rounds", type=int, default=3, help="of measuring each in turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement in a round")
    parser.add_argument("--parallel", type=int, default=8 if DEVICE == "cuda" else 1,
                        help="compile that many of torch.compile's steps at a time, ahead")
    parser.add_argument("--json", type=pathlib.Path, help="write everything there, after each work")
    options = parser.parse_args()
    options.work = options.work or [*TARGETS, *([START_UP] if DEVICE == "cpu" else [])]
    return options


def main():
    options = parse_options()
    machine = json.loads(subprocess.run([sys.executable, WORKER, "machine"], check=True, text=True,
                                        stdout=subprocess.PIPE).stdout)
    print(json.dumps(machine), "\n", flush=True)
    if options.parallel > 1:
        fill_compile_cache(options)
    rows = []
    for name in options.work:
        try:
            rows.append(start_up_row(options) if name == START_UP else compare(parse_work(name), options))
        except Failed as failure:
            print(f"{name} failed: {failure}\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    print_table(rows)


if __name__ == "__main__":
    main()
