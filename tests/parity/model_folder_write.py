"""Has diffusers write model folders that cover the options of its UNet2DModel and DDPMScheduler."""
import pathlib
import sys

import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

SMALL = dict(sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
             down_block_types=("DownBlock2D", "AttnDownBlock2D"),
             up_block_types=("AttnUpBlock2D", "UpBlock2D"))
CASES = {
    "plain": (SMALL, DDPMScheduler()),
    "cifar10": (
        dict(SMALL, attention_head_dim=None, downsample_padding=0, flip_sin_to_cos=False,
             freq_shift=1, norm_eps=1e-6),
        DDPMScheduler(num_train_timesteps=500, variance_type="fixed_large",
                      beta_schedule="scaled_linear")),
    "classes": (
        dict(SMALL, in_channels=1, out_channels=1, num_class_embeds=10, dropout=0.1,
             resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4,
             down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
             up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D")),
        DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction",
                      rescale_betas_zero_snr=True, timestep_spacing="trailing",
                      clip_sample=False)),
    "resampled": (
        dict(SMALL, class_embed_type="timestep", add_attention=False, downsample_type="resnet",
             upsample_type="resnet", mid_block_scale_factor=2.0, center_input_sample=True),
        DDPMScheduler(beta_schedule="sigmoid", prediction_type="sample", thresholding=True,
                      sample_max_value=2.0)),
    "betas": (
        dict(SMALL, class_embed_type="identity", attention_head_dim=16),
        DDPMScheduler(num_train_timesteps=3, trained_betas=[0.1, 0.2, 0.3])),
    "ddim": (SMALL, DDIMScheduler(timestep_spacing="linspace")),
}

torch.manual_seed(0)
for name, (network, scheduler) in CASES.items():
    model = UNet2DModel(**network)
    folder = pathlib.Path(sys.argv[1]) / name
    DDPMPipeline(model, scheduler).save_pretrained(folder, safe_serialization=True)
