"""Samples model folders with diffusers' own schedulers, from noise that the caller gives.

    python tests/parity/scheduler_samples.py make ROOT                      a folder for each case of CASES
    python tests/parity/scheduler_samples.py sample ROOT NOISE SAMPLES      10 steps of each, or 20

NOISE holds x_T and step_noise.T-1 .. step_noise.0; SAMPLES gets a tensor for each folder of ROOT.
"""
import pathlib
import sys
import warnings

import torch
from safetensors.torch import load_file, save_file
from scheduler_cases import class_of  # puts LMS within reach
from diffusers import DDPMPipeline, DiffusionPipeline, UNet2DModel
from diffusers.schedulers import scheduling_dpmsolver_multistep, scheduling_euler_ancestral_discrete

warnings.simplefilter("ignore")
STEPS = 10
MORE_STEPS = 20  # of folders whose name ends in _at_20: multistep orders at the end depend on it
T = 1000
V = dict(prediction_type="v_prediction")
TRAILING = V | dict(timestep_spacing="trailing")
# Thresholding with dpmsolver ends in an exception there; PNDM mixes the v of several timesteps.
DPM = V | dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min")
OFFSET = dict(timestep_spacing="leading", steps_offset=1)
LEADING = V | OFFSET
CLIPPED = dict(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=1.5)

CASES = {
    "ddim_leading": ("DDIMScheduler", LEADING | dict(clip_sample=False)),
    "ddim_to_first": ("DDIMScheduler", LEADING | dict(clip_sample=False, set_alpha_to_one=False)),
    "ddim_range": ("DDIMScheduler", TRAILING | dict(clip_sample_range=0.8)),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", V),
    "dpmpp_2m_leading": ("DPMSolverMultistepScheduler", LEADING),
    "dpmpp_2m_heun": ("DPMSolverMultistepScheduler", TRAILING | CLIPPED | dict(solver_type="heun")),
    "dpmpp_2m_to_first": ("DPMSolverMultistepScheduler", V | dict(final_sigmas_type="sigma_min")),
    "dpmpp_2m_open": ("DPMSolverMultistepScheduler", V | dict(final_sigmas_type="sigma_min", lower_order_final=False)),
    "dpmpp_2m_to_first_at_20": ("DPMSolverMultistepScheduler", V | dict(final_sigmas_type="sigma_min")),
    "dpmpp_2m_euler_at_final": ("DPMSolverMultistepScheduler", V | dict(euler_at_final=True, lower_order_final=False)),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", V | dict(algorithm_type="sde-dpmsolver++")),
    "dpmpp_2m_sde_heun": ("DPMSolverMultistepScheduler", TRAILING | dict(algorithm_type="sde-dpmsolver++",
                                                                        solver_type="heun")),
    "dpmpp_1": ("DPMSolverMultistepScheduler", V | dict(solver_order=1)),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", V),
    "dpmpp_2s_heun": ("DPMSolverSinglestepScheduler", V | dict(solver_type="heun")),
    "dpmpp_3s": ("DPMSolverSinglestepScheduler", V | dict(solver_order=3, solver_type="heun")),
    "dpm_2s": ("DPMSolverSinglestepScheduler", DPM),
    "dpm_2s_lower": ("DPMSolverSinglestepScheduler", DPM | dict(lower_order_final=True)),
    "dpm_3s": ("DPMSolverSinglestepScheduler", DPM | dict(solver_order=3, solver_type="heun")),
    "unipc": ("UniPCMultistepScheduler", V),
    "unipc_3": ("UniPCMultistepScheduler", LEADING | CLIPPED | dict(solver_order=3)),
    "unipc_bh1": ("UniPCMultistepScheduler", V | dict(solver_type="bh1", final_sigmas_type="sigma_min",
                                                      lower_order_final=False)),
    "unipc_3_at_20": ("UniPCMultistepScheduler", V | dict(solver_order=3)),
    "unipc_3_to_first_at_20": ("UniPCMultistepScheduler", V | dict(solver_order=3, final_sigmas_type="sigma_min")),
    "deis": ("DEISMultistepScheduler", V),
    "deis_3": ("DEISMultistepScheduler", TRAILING | CLIPPED | dict(solver_order=3, lower_order_final=False)),
    "deis_3_lower": ("DEISMultistepScheduler", V | dict(solver_order=3)),
    "deis_3_at_20": ("DEISMultistepScheduler", V | dict(solver_order=3)),
    "euler": ("EulerDiscreteScheduler", V),
    "euler_leading": ("EulerDiscreteScheduler", LEADING),
    "euler_a": ("EulerAncestralDiscreteScheduler", TRAILING),
    "heun": ("HeunDiscreteScheduler", V | dict(beta_start=1e-4, beta_end=0.02)),
    "heun_range": ("HeunDiscreteScheduler", TRAILING | dict(beta_end=0.02, clip_sample=True, clip_sample_range=0.8)),
    "lms": ("LMSDiscreteScheduler", V),
    "pndm": ("PNDMScheduler", {}),
    "pndm_to_image": ("PNDMScheduler", OFFSET | dict(set_alpha_to_one=True)),
    "plms": ("PNDMScheduler", OFFSET | dict(skip_prk_steps=True)),
    "epsilon": ("DPMSolverMultistepScheduler", dict(thresholding=True)),
}


def make(root):
    torch.manual_seed(3)
    unet = UNet2DModel(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(16, 32), norm_num_groups=4,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                       up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8)
    for name, (class_name, options) in CASES.items():
        DDPMPipeline(unet, class_of(class_name)(num_train_timesteps=T, **options)).save_pretrained(root / name)


def draw(folder, noise):
    # DDPMPipeline itself would hand every scheduler on as DDPMScheduler's configuration.
    unet = UNet2DModel.from_pretrained(folder, subfolder="unet").eval()
    index = DiffusionPipeline.load_config(folder)
    scheduler = class_of(index["scheduler"][1]).from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(MORE_STEPS if folder.name.endswith("_at_20") else STEPS)
    clips = {"use_clipped_model_output": True} if index["scheduler"][1] == "DDIMScheduler" else {}
    x = noise["x_T"] * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        for module in (scheduling_dpmsolver_multistep, scheduling_euler_ancestral_discrete):
            module.randn_tensor = lambda *_, t=int(t), **__: noise[f"step_noise.{t}"]
        output = unet(scheduler.scale_model_input(x, t), t).sample
        x = scheduler.step(output, t, x, **clips).prev_sample
    return x.contiguous()


mode, root, *files = sys.argv[1:]
root = pathlib.Path(root)
if mode == "make":
    make(root)
else:
    noise = load_file(files[0])
    with torch.no_grad():
        save_file({folder.name: draw(folder, noise) for folder in root.iterdir()}, files[1])
