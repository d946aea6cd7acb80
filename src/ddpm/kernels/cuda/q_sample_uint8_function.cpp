#include "ddpm/kernels/cuda/q_sample_uint8_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <limits>

#include "ddpm/kernels/cuda/q_sample_uint8_kernels.h"

namespace ddpm::cuda {

bool q_sample_is_fused(const QSampleUint8Args& args) {
  return args.images.is_cuda() && args.noise.is_cuda() && args.t.is_cuda() &&
         (!args.flip.defined() || args.flip.is_cuda()) && args.sqrt_alphas_cumprod.is_cuda() &&
         args.sqrt_one_minus_alphas_cumprod.is_cuda() && !args.noise.requires_grad() &&
         args.images.numel() > 0 && args.images.numel() < std::numeric_limits<int32_t>::max();
}

NoisedBatch fused_q_sample(const QSampleUint8Args& args) {
  const c10::cuda::CUDAGuard guard(args.images.device());
  const Tensor t = args.t.contiguous();
  const Tensor flip = args.flip.defined() ? args.flip.contiguous() : Tensor();
  const Tensor signal = args.sqrt_alphas_cumprod.contiguous();
  const Tensor noise = args.sqrt_one_minus_alphas_cumprod.contiguous();
  const auto maps = args.noise.options().memory_format(at::MemoryFormat::ChannelsLast);
  const Tensor x_start = at::empty(args.images.sizes(), maps);
  const Tensor x_t = at::empty(args.images.sizes(), maps.dtype(args.x_t_dtype));
  QSampleBuffers buffers{.images = static_cast<int>(args.images.size(0)),
                         .channels = static_cast<int>(args.images.size(1)),
                         .height = static_cast<int>(args.images.size(2)),
                         .width = static_cast<int>(args.images.size(3)),
                         .pixels = args.images.const_data_ptr<uint8_t>(),
                         .noise = args.noise.const_data_ptr<float>(),
                         .flip = flip.defined() ? flip.const_data_ptr<bool>() : nullptr,
                         .t = t.const_data_ptr<int64_t>(),
                         .sqrt_alphas_cumprod = signal.const_data_ptr<float>(),
                         .sqrt_one_minus_alphas_cumprod = noise.const_data_ptr<float>(),
                         .bf16 = args.x_t_dtype == at::kBFloat16};
  std::ranges::copy(args.images.strides(), buffers.pixel_strides);
  std::ranges::copy(args.noise.strides(), buffers.noise_strides);
  C10_CUDA_CHECK(q_sample_uint8(buffers, x_start.mutable_data_ptr<float>(), x_t.mutable_data_ptr(),
                                c10::cuda::getCurrentCUDAStream()));
  return {x_start, x_t};
}

}  // namespace ddpm::cuda
