"""Samples a model folder with diffusers, from noise that the caller gives.

    python tests/parity/pipeline_samples.py FOLDER NOISE.safetensors SAMPLES.safetensors

NOISE holds x_T and step_noise.T-1 .. step_noise.1. A FOLDER that is absent is made first, with a random network.
SAMPLES gets "ddim" (10 trailing steps, eps from the clipped x_0) and "ddpm" (all steps).
"""
import pathlib
import sys

import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.schedulers import scheduling_ddpm
from safetensors.torch import load_file, save_file

folder, noise_file, samples_file = sys.argv[1:]
if not pathlib.Path(folder).exists():
    torch.manual_seed(3)
    unet = UNet2DModel(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(16, 32), norm_num_groups=4,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                       up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8)
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=50, beta_end=0.2,
                                     variance_type="fixed_large")).save_pretrained(folder)

noise = load_file(noise_file)
pipeline = DDPMPipeline.from_pretrained(folder)
unet, ddpm = pipeline.unet.eval(), pipeline.scheduler
samples = {}
with torch.no_grad():
    ddim = DDIMScheduler.from_config(ddpm.config, timestep_spacing="trailing", set_alpha_to_one=True)
    ddim.set_timesteps(10)
    x_t = noise["x_T"]
    for t in ddim.timesteps:
        x_t = ddim.step(unet(x_t, t).sample, t, x_t, eta=0.0, use_clipped_model_output=True).prev_sample
    samples["ddim"] = x_t

    ddpm.set_timesteps(ddpm.config.num_train_timesteps)
    x_t = noise["x_T"]
    for t in ddpm.timesteps:
        scheduling_ddpm.randn_tensor = lambda *_, t=int(t), **__: noise[f"step_noise.{t}"]
        x_t = ddpm.step(unet(x_t, t).sample, t, x_t).prev_sample
    samples["ddpm"] = x_t
save_file({name: tensor.contiguous() for name, tensor in samples.items()}, samples_file)
