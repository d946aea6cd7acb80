"""ddpm.cpp's fused operations in PyTorch, and in diffusers' UNet2DModel.

    cmake -S . -B build/release -DDDPM_BUILD_TORCH_OPS=ON && ninja -C build/release ddpm_ops
    python integrations/torch/ddpm_ops.py build/release/integrations/torch/libddpm_ops.so

    import ddpm_ops
    ddpm_ops.load("libddpm_ops.so")
    unet = ddpm_ops.fuse(UNet2DModel.from_pretrained("google/ddpm-cifar10-32"))

The operations: torch.ops.ddpm.group_norm_silu, conv2d (with bias and residual), q_sample_uint8. They take channels_last
maps on a CPU or a GPU, in float32 or bfloat16, and have derivatives. torch.compile does not look into them.
"""
import argparse
import copy
import functools
import statistics
import time

import torch


def load(path):
    """Makes torch.ops.ddpm.* known. The library must be built against this PyTorch."""
    torch.ops.load_library(str(path))


def _norm(norm, x, **more):
    return torch.ops.ddpm.group_norm_silu(x, norm.num_groups, norm.weight, norm.bias, norm.eps, **more)


def _fused_resnet(block, x, temb):
    """ResnetBlock2D.forward in two norms and two convolutions, with the sum in the second one."""
    h = _norm(block.norm1, x)
    h = torch.ops.ddpm.conv2d(h, block.conv1.weight, None, padding=1)
    time_embedding = block.time_emb_proj(torch.nn.functional.silu(temb))
    if block.time_embedding_norm == "scale_shift":
        scale, shift = time_embedding.chunk(2, dim=1)
        bias = block.conv1.bias.expand(len(x), -1)
        h = _norm(block.norm2, h, time_embedding=bias, scale=scale, shift=shift)
    else:
        h = _norm(block.norm2, h, time_embedding=time_embedding + block.conv1.bias)
    h = block.dropout(h)
    shortcut = x
    if block.conv_shortcut is not None:
        shortcut = torch.ops.ddpm.conv2d(x, block.conv_shortcut.weight, block.conv_shortcut.bias)
    return torch.ops.ddpm.conv2d(h, block.conv2.weight, block.conv2.bias, shortcut, padding=1)


def _fits(block):
    return (block.upsample is None and block.downsample is None and block.time_emb_proj is not None
            and not block.skip_time_act and block.output_scale_factor == 1.0
            and isinstance(block.nonlinearity, torch.nn.SiLU) and block.conv1.kernel_size == (3, 3))


def fuse(unet):
    """Swaps the fused operations into a diffusers UNet2DModel, in place; its weights stay its own.

    Res blocks that resample, or have another activation than SiLU, stay as they are. Returns unet.
    """
    from diffusers.models.resnet import ResnetBlock2D
    unet.to(memory_format=torch.channels_last)
    blocks = [module for module in unet.modules() if isinstance(module, ResnetBlock2D) and _fits(module)]
    if not blocks:
        raise ValueError("[fuse] unet: expected a network with ResnetBlock2D modules that can be fused, got none")
    for block in blocks:
        block.forward = functools.partial(_fused_resnet, block)
    return unet


def _milliseconds(step, seconds=3):
    step()
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library")
    parser.add_argument("--batch", type=int, default=4)
    args = parser.parse_args()
    from diffusers import UNet2DModel
    load(args.library)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    unet = UNet2DModel(sample_size=32, block_out_channels=(128, 256, 256, 256), norm_eps=1e-6, attention_head_dim=None,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
                       up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"))
    unet = unet.to(device, memory_format=torch.channels_last).eval()
    fused = fuse(copy.deepcopy(unet))
    x = torch.randn(args.batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    t = torch.full((args.batch,), 500, device=device)
    with torch.no_grad():
        expected, got = unet(x, t).sample, fused(x, t).sample
        print(f"largest difference {(got - expected).abs().max():.2g} of {expected.abs().max():.3g}")
        plain, ours = (_milliseconds(lambda network=network: network(x, t)) for network in (unet, fused))
    print(f"batch {args.batch} on {device}: diffusers {plain:.1f} ms, fused {ours:.1f} ms, {plain / ours:.2f}x")


if __name__ == "__main__":
    main()
