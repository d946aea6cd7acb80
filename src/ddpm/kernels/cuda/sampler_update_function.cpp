#include "ddpm/kernels/cuda/sampler_update_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

#include "ddpm/core/check.h"
#include "ddpm/kernels/cuda/sampler_update_kernels.h"

namespace ddpm::cuda {

Tensor fused_sampler_update(const std::vector<Tensor>& values, at::ArrayRef<double> coefficients,
                            double clip_range) {
  check_arg(values.size() <= kMostSamplerTerms, "[sampler_update] terms: expected at most ",
            kMostSamplerTerms, " on a GPU, got ", values.size());
  const Tensor& first = values.front();
  const c10::cuda::CUDAGuard guard(first.device());
  const Tensor sum = at::empty(first.sizes(), first.options());
  SamplerTerms terms{.images = first.size(0),
                     .elements = sum.numel() / std::max(first.size(0), int64_t{1}),
                     .terms = static_cast<int>(values.size()),
                     .is_double = first.scalar_type() == at::kDouble,
                     .clip_range = clip_range};
  std::vector<Tensor> held;  // until the kernel is launched
  for (size_t k = 0; k < values.size(); ++k) {
    held.push_back(values[k].contiguous());
    terms.values[k] = held.back().const_data_ptr();
  }
  C10_CUDA_CHECK(sampler_update(terms, coefficients.data(), sum.mutable_data_ptr(),
                                c10::cuda::getCurrentCUDAStream()));
  return sum;
}

}  // namespace ddpm::cuda
