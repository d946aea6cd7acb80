"""Networks of the placement study: where gates and self-attention stand, and widths that make them equally large.

A network is a SimpleUnet (src/ddpm/model/simple_unet.h) with group norm. The counts below are of its weights and of
the multiply-adds of one 32x32 image; `ddpm train --dry-run` confirms the weights.
"""
import functools
import itertools
from dataclasses import dataclass, field

SIDE = 32
TIME_CHANNELS = 32
BASE_WIDTHS = (64, 128, 256, 512)
REDUCTION = {"cbam": 8, "squeeze_excite": 8, "attention_gate": 2}


@dataclass(frozen=True)
class Placement:
    name: str
    gate: str = "none"
    gate_places: tuple = ()
    self_attention_levels: tuple = ()
    widths: tuple = field(default=BASE_WIDTHS, compare=False)

    def settings(self):
        """The options of [model.simple_unet], as --set takes them."""
        def words(values):
            return "[" + ", ".join(f'"{v}"' for v in values) + "]"
        options = {"level_channels": list(self.widths), "norm_num_groups": 8,
                   "self_attention_levels": list(self.self_attention_levels), "self_attention_dropout": 0.0}
        if self.gate != "none":
            options |= {"gate": f'"{self.gate}"', "gate_places": words(self.gate_places),
                        "gate_reduction": REDUCTION[self.gate]}
        return {f"model.simple_unet.{key}": value for key, value in options.items()}


PLACEMENTS = [
    Placement("none"),
    Placement("CBAM, block ends", "cbam", ("block_end",)),
    Placement("CBAM, skips", "cbam", ("skip",)),
    Placement("CBAM, bottleneck", "cbam", ("bottleneck",)),
    Placement("squeeze-excite, block ends", "squeeze_excite", ("block_end",)),
    Placement("squeeze-excite, skips", "squeeze_excite", ("skip",)),
    Placement("attention gates, skips", "attention_gate", ("skip",)),
    Placement("self-attention, bottleneck", self_attention_levels=(3,)),
    Placement("self-attention, 8x8", self_attention_levels=(2,)),
    Placement("CBAM, block ends; self-attention, bottleneck", "cbam", ("block_end",), (3,)),
]


def conv(side, kernel, in_channels, out_channels, bias=True):
    weights = kernel * kernel * in_channels * out_channels
    return weights + (out_channels if bias else 0), weights * side * side


def linear(in_channels, out_channels, times=1):
    return in_channels * out_channels + out_channels, in_channels * out_channels * times


def gate_cost(kind, channels, side):
    """Of a gate on a map of `channels` and `side`; for attention_gate, the coarser map has the same channels."""
    inner = channels // REDUCTION[kind]
    if kind == "attention_gate":
        return [conv(side // 2, 2, channels, inner, bias=False), conv(side // 2, 1, channels, inner),
                conv(side // 2, 1, inner, 1)]
    parts = [linear(channels, inner), linear(inner, channels)]
    return parts + [conv(side, 7, 2, 1)] if kind == "cbam" else parts


def self_attention_cost(channels, side):
    tokens = side * side
    weights = 12 * channels * channels
    return [(weights + 13 * channels, weights * tokens + 2 * tokens * tokens * channels)]


def cost(placement, widths):
    """(weights, multiply-adds of an image)."""
    deepest = len(widths) - 1
    side = [SIDE >> level for level in range(len(widths))]
    parts = [conv(SIDE, 3, 3, widths[0]), conv(SIDE, 1, widths[0], 3), linear(TIME_CHANNELS, TIME_CHANNELS)]

    def block(in_channels, channels, level, resampled_side):
        parts.extend([linear(TIME_CHANNELS, channels), conv(side[level], 3, in_channels, channels),
                      conv(side[level], 3, channels, channels), (4 * channels, 0),
                      # a strided or a transposed convolution: 16 multiply-adds at each pixel of its smaller map
                      (16 * channels * channels + channels, 16 * channels * channels * resampled_side ** 2)])
        if "block_end" in placement.gate_places:
            parts.extend(gate_cost(placement.gate, channels, side[level]))

    for level in range(deepest):
        block(widths[level], widths[level + 1], level, side[level + 1])
        block(2 * widths[level + 1], widths[level], level + 1, side[level + 1])
    if "skip" in placement.gate_places:
        for level in range(1, deepest if placement.gate == "attention_gate" else deepest + 1):
            parts.extend(gate_cost(placement.gate, widths[level], side[level]))
    if "bottleneck" in placement.gate_places:
        parts.extend(gate_cost(placement.gate, widths[-1], side[-1]))
    for level in placement.self_attention_levels:
        blocks = self_attention_cost(widths[level], side[level])
        parts.extend(blocks if level == deepest else 2 * blocks)
    return sum(weights for weights, _ in parts), sum(macs for _, macs in parts)


def equal_widths(placement, within=0.01):
    """Widths nearest to BASE_WIDTHS with which the network costs what the plain one does, weights and multiply-adds."""
    target = cost(PLACEMENTS[0], BASE_WIDTHS)
    choices = [range(base - base // 4 // 8 * 8, base + base // 4 // 8 * 8 + 1, 8) for base in BASE_WIDTHS]
    fits = [widths for widths in itertools.product(*choices)
            if all(abs(a / b - 1) <= within for a, b in zip(cost(placement, widths), target))]
    if not fits:
        raise ValueError(f"{placement.name}: no widths within {within:.0%} of the plain network's cost")
    return min(fits, key=lambda widths: sum(abs(w / base - 1) for w, base in zip(widths, BASE_WIDTHS)))


@functools.cache
def placements():
    """Each with its widths, which take seconds to find."""
    return [Placement(p.name, p.gate, p.gate_places, p.self_attention_levels, equal_widths(p)) for p in PLACEMENTS]


if __name__ == "__main__":
    target = cost(PLACEMENTS[0], BASE_WIDTHS)
    for p in placements():
        weights, macs = cost(p, p.widths)
        print(f"{p.name:45} {str(p.widths):24} {weights:>12,} {weights / target[0] - 1:+.2%}"
              f" {macs / 1e6:8.1f} M multiply-adds {macs / target[1] - 1:+.2%}")
