#!/usr/bin/env python3
"""Writes what diffusers' UNet2DModel answers, for tests/model/unet2d_parity_test.cpp.

usage: unet2d_reference.py OUT

For each configuration below: OUT/<name>/config.json as diffusers saves it, keys.txt (the state dict's
names in order), and float32.safetensors and float64.safetensors with the entries weight/NAME,
grad/NAME, x, t, class_labels, probe, y and grad_x. Gradients are those of sum(y * probe).
"""
import json
import pathlib
import sys

import diffusers
import torch
from safetensors.torch import save_file

# Each option that changes the structure or the sums stands in at least one configuration. More than
# one channel a group, everywhere: with one, the norm hides the bias before it, and its gradient is noise.
CONFIGS = {
    "as_ddpm_cifar10": dict(
        shape=(3, 16, 16), block_out_channels=(32, 64), layers_per_block=2, norm_num_groups=8,
        norm_eps=1e-6, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
        attention_head_dim=None, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D")),
    "heads_and_three_levels": dict(
        shape=(3, 16, 24), out_channels=6, block_out_channels=(32, 48, 64), layers_per_block=1,
        norm_num_groups=16, attention_head_dim=16, dropout=0.3,
        down_block_types=("AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")),
    "scale_shift_resnet_blocks_and_classes": dict(
        shape=(3, 8, 8), block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
        resnet_time_scale_shift="scale_shift", num_class_embeds=5, attention_head_dim=32,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D")),
    "resnet_resampling_and_class_timesteps": dict(
        shape=(3, 8, 8), block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
        resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4, mid_block_scale_factor=1.5,
        downsample_type="resnet", upsample_type="resnet", class_embed_type="timestep",
        down_block_types=("AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D")),
    "no_attention_grey_centred_and_identity": dict(
        shape=(1, 8, 8), out_channels=1, block_out_channels=(32, 64), layers_per_block=1,
        norm_num_groups=4, add_attention=False, center_input_sample=True, class_embed_type="identity",
        mid_block_scale_factor=0.7, down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D")),
    "odd_channels_and_heads_that_leave_some_out": dict(
        shape=(3, 8, 4), block_out_channels=(27, 36), layers_per_block=3, norm_num_groups=9,
        attention_head_dim=8, down_block_types=("AttnDownBlock2D", "ResnetDownsampleBlock2D"),
        up_block_types=("ResnetUpsampleBlock2D", "AttnUpBlock2D")),
    "one_level_of_odd_sides": dict(
        shape=(2, 5, 7), out_channels=2, block_out_channels=(32,), layers_per_block=2,
        norm_num_groups=8, attention_head_dim=16, down_block_types=("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",)),
}
BATCH = 3


def make_inputs(model, shape):
    inputs = {
        "x": torch.randn(BATCH, *shape, dtype=torch.float64),
        "t": torch.tensor([0, 371, 999]),
        "probe": torch.randn(BATCH, model.config.out_channels, *shape[1:], dtype=torch.float64),
    }
    if model.config.class_embed_type == "identity":
        channels = 4 * model.config.block_out_channels[0]
        inputs["class_labels"] = torch.randn(BATCH, channels, dtype=torch.float64)
    elif model.class_embedding is not None:
        inputs["class_labels"] = torch.tensor([4, 0, 2])
    return inputs


def cast_to_weights(module, args):
    """diffusers feeds the class embedding float32 waves whatever the weights' dtype."""
    return tuple(x.to(module.linear_1.weight.dtype) for x in args)


def run(model, inputs, dtype):
    model = model.to(dtype)
    model.zero_grad()
    given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    x = given["x"].clone().requires_grad_()
    y = model(x, given["t"], class_labels=given.get("class_labels")).sample
    (y * given["probe"]).sum().backward()
    found = dict(given, y=y.detach(), grad_x=x.grad)
    for name, tensor in model.state_dict().items():
        found[f"weight/{name}"] = tensor
        found[f"grad/{name}"] = model.get_parameter(name).grad
    return {name: tensor.detach().contiguous() for name, tensor in found.items()}


def write(folder, options):
    options = dict(options)
    shape = options.pop("shape")
    torch.manual_seed(7)
    model = diffusers.UNet2DModel(sample_size=8, in_channels=shape[0], **options).eval()
    if model.config.class_embed_type == "timestep":
        model.class_embedding.register_forward_pre_hook(cast_to_weights)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms start at 1 and 0, which would hide mistakes
                parameter += 0.1 * torch.randn_like(parameter)
    inputs = make_inputs(model, shape)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(json.loads(model.to_json_string())))
    (folder / "keys.txt").write_text("".join(f"{name}\n" for name in model.state_dict()))
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).removeprefix("torch.")
        save_file(run(model, inputs, dtype), folder / f"{name}.safetensors")


diffusers.logging.set_verbosity_error()
torch.set_num_threads(2)
for name, options in CONFIGS.items():
    write(pathlib.Path(sys.argv[1]) / name, options)
