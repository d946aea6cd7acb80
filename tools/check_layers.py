#!/usr/bin/env python3
"""Fails if a file of src/ddpm/<layer>/ includes a layer that <layer> may not use, or is too long."""
import pathlib
import re
import sys

MAX_LINES = 400
BASE = ["core", "config"]
ALLOWED = {  # layer -> layers it may include, besides itself; the order is the data flow
    "core": [],
    "config": ["core"],
    "data": BASE,
    "diffusion": BASE,
    "kernels": ["core"],
    "model": [*BASE, "kernels"],
    "loss": [*BASE, "diffusion", "kernels"],
    "checkpoint": BASE,
    "sampling": [*BASE, "diffusion", "kernels"],
    "pipeline": [*BASE, "diffusion", "model", "checkpoint", "sampling"],
    "training": [*BASE, "data", "diffusion", "kernels", "model", "loss", "checkpoint", "sampling",
                 "pipeline"],
    "evaluation": [*BASE, "data", "diffusion", "kernels", "loss"],
    "serving": [*BASE, "data", "diffusion", "checkpoint", "sampling", "pipeline"],
}
HEAVY = re.compile(r'#include [<"](torch/torch\.h|torch/nn\.h)')
SOURCES = ("*.h", "*.cpp", "*.cu", "*.cuh")


def files(root):
    return sorted(path for pattern in SOURCES for path in root.rglob(pattern))


def problems(root):
    for path in files(root / "src/ddpm"):
        layer = path.relative_to(root / "src/ddpm").parts[0]
        if layer not in ALLOWED:
            yield f"{path}: layer '{layer}' is not in ALLOWED"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'#include "ddpm/(\w+)/', line)
            if found and found[1] not in [layer, *ALLOWED[layer]]:
                yield f"{path}:{number}: '{layer}' may not include '{found[1]}'"
            if path.suffix == ".h" and HEAVY.match(line):
                yield f"{path}:{number}: a header takes ddpm/core/tensor.h, not {HEAVY.match(line)[1]}"
    for folder in ("src", "apps", "tests", "benchmarks"):
        for path in files(root / folder):
            lines = len(path.read_text().splitlines())
            if lines > MAX_LINES:
                yield f"{path}: {lines} lines, at most {MAX_LINES}"


found = list(problems(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
print("\n".join(found) or "layers: ok")
sys.exit(bool(found))
