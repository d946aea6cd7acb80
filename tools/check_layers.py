#!/usr/bin/env python3
"""Fails if a file of src/ddpm/<layer>/ includes a layer that <layer> may not use, or is too long, or
gives a constant of its own the name of another file's: several files are compiled as one, and those
that need CUDA are compiled where there is CUDA alone."""
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
    "pipeline": [*BASE, "diffusion", "kernels", "model", "checkpoint", "sampling"],
    "training": [*BASE, "data", "diffusion", "kernels", "model", "loss", "checkpoint", "sampling",
                 "pipeline"],
    "evaluation": [*BASE, "data", "diffusion", "kernels", "loss"],
    "serving": [*BASE, "data", "diffusion", "checkpoint", "kernels", "sampling", "pipeline"],
}
HEAVY = re.compile(r'#include [<"](torch/torch\.h|torch/nn\.h)')
SOURCES = ("*.h", "*.cpp", "*.cu", "*.cuh")


def files(root):
    return sorted(path for pattern in SOURCES for path in root.rglob(pattern))


def own_constants(path):
    """Constants of a file's anonymous namespaces: (enclosing namespace, name, line number)."""
    outer, is_own = "", False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if named := re.match(r"namespace ([\w:]+) \{", line):
            outer, is_own = named[1], False
        elif re.match(r"namespace \{", line):
            is_own = True
        elif re.match(r"\}  // namespace$", line):
            is_own = False
        elif is_own and line.startswith("constexpr"):
            for name in re.findall(r"\b(k[A-Z]\w*)(?:\[\w*\])? =(?!=)", line):
                yield outer, name, number


def clashes(root):
    for layer in sorted(path for path in (root / "src/ddpm").iterdir() if path.is_dir()):
        seen = {}
        for path in sorted(layer.rglob("*.cpp")):
            for outer, name, number in own_constants(path):
                other = seen.setdefault((outer, name), path)
                if other != path:
                    yield f"{path}:{number}: {other} has a constant {name} too, and may be compiled with it"


def problems(root):
    yield from clashes(root)
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
