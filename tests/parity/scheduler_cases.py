"""diffusers' schedulers at their defaults and elsewhere, for the tests that read and write them."""
import types

import diffusers
import numpy as np
from diffusers.schedulers import scheduling_lms_discrete

diffusers.logging.set_verbosity_error()


def _quad(function, low, high, **_):
    """scipy.integrate.quad for polynomials, which LMSDiscreteScheduler's are."""
    positions, weights = np.polynomial.legendre.leggauss(8)
    low, high = float(low), float(high)
    values = [float(function(low + (x + 1) / 2 * (high - low))) for x in positions]
    return (float(weights @ np.array(values)) * (high - low) / 2,)


scheduling_lms_discrete.integrate = types.SimpleNamespace(quad=_quad)  # the one thing it needs of scipy

SCHEDULE = dict(num_train_timesteps=200, beta_start=0.001, beta_end=0.05)
THRESHOLD = dict(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=2.0)
SPACED = dict(timestep_spacing="leading", steps_offset=1)

# Class, then options of one scheduler of it.
CASES = [
    ("DDPMScheduler", {}),
    ("DDPMScheduler", dict(variance_type="fixed_large", beta_schedule="sigmoid", clip_sample_range=2.0) | SCHEDULE | SPACED),
    ("DDPMScheduler", dict(trained_betas=[0.1, 0.2, 0.3], num_train_timesteps=3)),
    ("DDIMScheduler", {}),
    ("DDIMScheduler", dict(set_alpha_to_one=False, clip_sample=False, rescale_betas_zero_snr=True,
                           prediction_type="v_prediction", beta_schedule="scaled_linear") | SCHEDULE | SPACED | THRESHOLD),
    ("DPMSolverMultistepScheduler", {}),
    ("DPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++", solver_order=3, solver_type="heun",
                                         use_karras_sigmas=True, variance_type="learned_range") | SCHEDULE),
    ("DPMSolverMultistepScheduler", dict(use_lu_lambdas=True, lower_order_final=False, rescale_betas_zero_snr=True,
                                         prediction_type="sample") | SPACED | THRESHOLD),
    ("DPMSolverMultistepScheduler", dict(final_sigmas_type="sigma_min", euler_at_final=True, solver_order=1,
                                         beta_schedule="squaredcos_cap_v2")),
    ("DPMSolverSinglestepScheduler", {}),
    ("DPMSolverSinglestepScheduler", dict(algorithm_type="dpmsolver", solver_order=3, solver_type="heun",
                                          final_sigmas_type="sigma_min", lower_order_final=True) | SCHEDULE | THRESHOLD),
    ("UniPCMultistepScheduler", {}),
    ("UniPCMultistepScheduler", dict(solver_order=3, solver_type="bh1", lower_order_final=False,
                                     final_sigmas_type="sigma_min", rescale_betas_zero_snr=True,
                                     prediction_type="v_prediction") | SCHEDULE | SPACED | THRESHOLD),
    ("UniPCMultistepScheduler", dict(use_exponential_sigmas=True, sigma_min=0.1, sigma_max=80.0)),
    ("DEISMultistepScheduler", {}),
    ("DEISMultistepScheduler", dict(solver_order=3, lower_order_final=False, use_karras_sigmas=True) | SCHEDULE | THRESHOLD),
    ("EulerDiscreteScheduler", {}),
    ("EulerDiscreteScheduler", dict(use_karras_sigmas=True, sigma_min=0.05, sigma_max=10.0,
                                    final_sigmas_type="sigma_min") | SCHEDULE | SPACED),
    ("EulerAncestralDiscreteScheduler", {}),
    ("EulerAncestralDiscreteScheduler", dict(prediction_type="v_prediction", timestep_spacing="trailing",
                                             rescale_betas_zero_snr=True) | SCHEDULE),
    ("HeunDiscreteScheduler", {}),
    ("HeunDiscreteScheduler", dict(clip_sample=True, clip_sample_range=1.5, use_exponential_sigmas=True) | SCHEDULE),
    ("PNDMScheduler", {}),
    ("PNDMScheduler", dict(skip_prk_steps=True, set_alpha_to_one=True, timestep_spacing="trailing") | SCHEDULE),
    ("LMSDiscreteScheduler", {}),
    ("LMSDiscreteScheduler", dict(use_karras_sigmas=True, prediction_type="v_prediction") | SCHEDULE | SPACED),
]


def class_of(name):
    return scheduling_lms_discrete.LMSDiscreteScheduler if name == "LMSDiscreteScheduler" else getattr(diffusers, name)
