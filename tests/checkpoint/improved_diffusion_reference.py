#!/usr/bin/env python3
"""Writes what improved-diffusion's and ADM's U-Net answers, for improved_diffusion_parity_test.cpp.

usage: improved_diffusion_reference.py OUT

The network is written here from its published description [Improved DDPM, ADM]; parameters have the
names of the published state dicts. For each configuration below: OUT/<name>.float32.safetensors and
.float64.safetensors with the entries weight/NAME, grad/NAME, x, t, class_labels, probe, y and grad_x.
Gradients are those of sum(y * probe).
"""
import dataclasses
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file


@dataclasses.dataclass
class Config:
    width: int = 64  # of the timestep embedding; levels are mult times that
    mult: tuple = (1, 2)
    blocks: int = 1
    attention: tuple = (1,)  # levels
    out_channels: int = 3
    heads: int = 0
    head_channels: int = 0
    new_order: bool = False
    scale_shift: bool = True
    block_resampling: bool = False  # ADM's resblock_updown
    conv_resampling: bool = True
    classes: int = 0
    t_scale: float = 1.0


# More than one channel a group, everywhere: with one, the norm hides the bias before it, and its
# gradient is noise.
CONFIGS = {
    # The CIFAR-10 network in small: FiLM, four heads, learned range, t at a quarter.
    "improved_diffusion": Config(
        mult=(1, 2), blocks=3, attention=(1,), out_channels=6, heads=4, t_scale=0.25),
    # Heads of one number and three widths; a level without attention in between.
    "heads_by_number": Config(mult=(1, 1, 1.5, 2), attention=(0, 2), heads=2),
    "adm": Config(
        width=128, mult=(0.5, 0.5, 1), blocks=2, attention=(1, 2), out_channels=6,
        head_channels=32, new_order=True, block_resampling=True, classes=7),
    "added_embedding_without_convolutions_between_levels": Config(
        mult=(1, 1, 1), blocks=1, attention=(), heads=1, scale_shift=False, conv_resampling=False),
}
BATCH, SIDE, GROUPS = 3, 16, 32


class Weights:
    """Random parameters, made when they are first asked for."""

    def __init__(self):
        self.made = {}

    def __call__(self, name, *shape):
        if name not in self.made:
            if len(shape) > 1:
                value = torch.randn(shape, dtype=torch.float64) / math.sqrt(math.prod(shape[1:]))
            else:
                value = 0.2 * torch.randn(shape, dtype=torch.float64)
                value += float(name.endswith(".weight"))  # of a norm
            self.made[name] = value
        return self.made[name]

    def affine(self, name, *shape):
        return self(f"{name}.weight", *shape), self(f"{name}.bias", shape[0])


def norm(w, name, x):
    return F.group_norm(x, GROUPS, *w.affine(name, x.shape[1]), eps=1e-5)


def conv3(w, name, x, out, stride=1):
    return F.conv2d(x, *w.affine(name, out, x.shape[1], 3, 3), stride=stride, padding=1)


def halve(x):
    return 0.25 * (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2])


def double(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def res_block(w, c, name, x, e, out, resample=lambda x: x):
    h = conv3(w, f"{name}.in_layers.2", resample(F.silu(norm(w, f"{name}.in_layers.0", x))), out)
    columns = e.shape[1]
    factor = 2 if c.scale_shift else 1
    film = F.linear(F.silu(e), *w.affine(f"{name}.emb_layers.1", factor * out, columns))[:, :, None, None]
    if c.scale_shift:
        h = norm(w, f"{name}.out_layers.0", h) * (1 + film[:, :out]) + film[:, out:]
    else:
        h = norm(w, f"{name}.out_layers.0", h + film)
    h = conv3(w, f"{name}.out_layers.3", F.silu(h), out)
    shortcut = resample(x)
    if x.shape[1] != out:
        shortcut = F.conv2d(shortcut, *w.affine(f"{name}.skip_connection", out, x.shape[1], 1, 1))
    return shortcut + h


def attention(w, c, name, x):
    n, channels, rows, columns = x.shape
    heads = c.heads or channels // c.head_channels
    width = channels // heads
    flat = norm(w, f"{name}.norm", x).flatten(2)
    qkv = F.conv1d(flat, *w.affine(f"{name}.qkv", 3 * channels, channels, 1))
    if c.new_order:  # all queries, then all keys, then all values
        q, k, v = qkv.view(n, 3, heads, width, -1).unbind(1)
    else:  # head by head
        q, k, v = qkv.view(n, heads, 3, width, -1).unbind(2)
    score = torch.einsum("nhci,nhcj->nhij", q, k) / math.sqrt(width)
    h = torch.einsum("nhij,nhcj->nhci", score.softmax(-1), v).reshape(n, channels, -1)
    h = F.conv1d(h, *w.affine(f"{name}.proj_out", channels, channels, 1))
    return x + h.view(n, channels, rows, columns)


def embed(w, c, t, labels, dtype):
    half = c.width // 2
    frequency = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    angle = (t.float() * c.t_scale)[:, None] * frequency
    e = torch.cat([angle.cos(), angle.sin()], dim=1).to(dtype)
    e = F.silu(F.linear(e, *w.affine("time_embed.0", 4 * c.width, c.width)))
    e = F.linear(e, *w.affine("time_embed.2", 4 * c.width, 4 * c.width))
    if c.classes:
        e = e + w("label_emb.weight", c.classes, 4 * c.width)[labels]
    return e


def unet(w, c, x, t, labels):
    e = embed(w, c, t, labels, x.dtype)
    channels = [int(m * c.width) for m in c.mult]
    h = conv3(w, "input_blocks.0.0", x, channels[0])
    kept, index = [h], 1
    for level, out in enumerate(channels):
        for _ in range(c.blocks):
            h = res_block(w, c, f"input_blocks.{index}.0", h, e, out)
            if level in c.attention:
                h = attention(w, c, f"input_blocks.{index}.1", h)
            kept.append(h)
            index += 1
        if level + 1 < len(channels):
            if c.block_resampling:
                h = res_block(w, c, f"input_blocks.{index}.0", h, e, out, halve)
            elif c.conv_resampling:
                h = conv3(w, f"input_blocks.{index}.0.op", h, out, stride=2)
            else:
                h = halve(h)
            kept.append(h)
            index += 1
    h = res_block(w, c, "middle_block.0", h, e, channels[-1])
    h = attention(w, c, "middle_block.1", h)
    h = res_block(w, c, "middle_block.2", h, e, channels[-1])
    index = 0
    for level in reversed(range(len(channels))):
        out = channels[level]
        for i in range(c.blocks + 1):
            h = res_block(w, c, f"output_blocks.{index}.0", torch.cat([h, kept.pop()], 1), e, out)
            place = 1
            if level in c.attention:
                h = attention(w, c, f"output_blocks.{index}.1", h)
                place = 2
            if level and i == c.blocks:
                name = f"output_blocks.{index}.{place}"
                if c.block_resampling:
                    h = res_block(w, c, name, h, e, out, double)
                else:
                    h = double(h)
                    h = conv3(w, f"{name}.conv", h, out) if c.conv_resampling else h
            index += 1
    return conv3(w, "out.2", F.silu(norm(w, "out.0", h)), c.out_channels)


def run(c, w, inputs, dtype):
    given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    leaves = {k: v.to(dtype).requires_grad_() for k, v in w.made.items()}
    cast = Weights()
    cast.made = leaves
    x = given["x"].clone().requires_grad_()
    y = unet(cast, c, x, given["t"], given.get("class_labels"))
    (y * given["probe"]).sum().backward()
    found = dict(given, y=y, grad_x=x.grad)
    for name, leaf in leaves.items():
        found[f"weight/{name}"] = leaf
        found[f"grad/{name}"] = leaf.grad
    return {name: tensor.detach().contiguous() for name, tensor in found.items()}


def write(folder, name, c):
    torch.manual_seed(3)
    inputs = {
        "x": torch.randn(BATCH, 3, SIDE, SIDE, dtype=torch.float64),
        "t": torch.tensor([0, 371, 999]),
        "probe": torch.randn(BATCH, c.out_channels, SIDE, SIDE, dtype=torch.float64),
    }
    if c.classes:
        inputs["class_labels"] = torch.tensor([c.classes - 1, 0, 2])
    w = Weights()
    with torch.no_grad():
        unet(w, c, inputs["x"], inputs["t"], inputs.get("class_labels"))
    for dtype in (torch.float32, torch.float64):
        suffix = str(dtype).removeprefix("torch.")
        save_file(run(c, w, inputs, dtype), folder / f"{name}.{suffix}.safetensors")


torch.set_num_threads(2)
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True)
for name, config in CONFIGS.items():
    write(out, name, config)
