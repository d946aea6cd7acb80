#include "ddpm/kernels/q_sample_uint8.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/q_sample_uint8_function.h"
#endif

namespace ddpm {
namespace {

void check_vector(const char* name, const Tensor& values, int64_t size, at::ScalarType dtype) {
  check_arg(values.dim() == 1 && values.size(0) == size && values.scalar_type() == dtype,
            "[q_sample_uint8] ", name, " has a wrong shape or dtype: expected [", size, "] ", dtype,
            ", got ", values.sizes(), " ", values.scalar_type());
}

void check_q_sample_args(const QSampleUint8Args& args) {
  const Tensor& images = args.images;
  check_arg(images.dim() == 4 && images.scalar_type() == at::kByte,
            "[q_sample_uint8] images must be stored pixels: expected [B, C, H, W] Byte, got ",
            images.sizes(), " ", images.scalar_type());
  check_arg(args.noise.sizes() == images.sizes() && args.noise.scalar_type() == at::kFloat,
            "[q_sample_uint8] noise must have the images' shape: expected ", images.sizes(),
            " Float, got ", args.noise.sizes(), " ", args.noise.scalar_type());
  if (args.flip.defined()) check_vector("flip", args.flip, images.size(0), at::kBool);
  check_vector("t", args.t, images.size(0), at::kLong);
  const int64_t num_timesteps = args.sqrt_alphas_cumprod.numel();
  check_vector("sqrt_alphas_cumprod", args.sqrt_alphas_cumprod, num_timesteps, at::kFloat);
  check_vector("sqrt_one_minus_alphas_cumprod", args.sqrt_one_minus_alphas_cumprod, num_timesteps,
               at::kFloat);
  check_arg(args.x_t_dtype == at::kFloat || args.x_t_dtype == at::kBFloat16,
            "[q_sample_uint8] x_t_dtype is not supported: expected Float or BFloat16, got ",
            args.x_t_dtype);
}

Tensor at_timestep(const Tensor& table, const Tensor& t) {
  return table.index_select(/*dim=*/0, t).view({-1, 1, 1, 1});
}

}  // namespace

Tensor x_start_of_pixels(const Tensor& images, const Tensor& flip) {
  Tensor pixels = images;
  if (flip.defined()) {
    pixels = at::where(flip.view({-1, 1, 1, 1}), pixels.flip(/*dims=*/{3}), pixels);
  }
  return pixels.to(pixels.options().dtype(at::kFloat).memory_format(at::MemoryFormat::ChannelsLast))
      .div_(127.5)
      .sub_(1.0);
}

NoisedBatch q_sample_uint8(const QSampleUint8Args& args) {
  check_q_sample_args(args);
#ifdef DDPM_CUDA
  if (cuda::q_sample_is_fused(args)) return cuda::fused_q_sample(args);
#endif
  const Tensor x_start = x_start_of_pixels(args.images, args.flip);
  const Tensor x_t = at_timestep(args.sqrt_alphas_cumprod, args.t) * x_start +
                     at_timestep(args.sqrt_one_minus_alphas_cumprod, args.t) * args.noise;
  return {x_start, x_t.to(args.x_t_dtype).contiguous(at::MemoryFormat::ChannelsLast)};
}

}  // namespace ddpm
