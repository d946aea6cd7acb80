#include "ddpm/kernels/cuda/copy_tensors_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstddef>

#include "ddpm/kernels/cuda/copy_tensors_kernels.h"

namespace ddpm::cuda {

bool copies_tensors_at_once(const std::vector<Tensor>& from, const std::vector<Tensor>& to) {
  for (size_t i = 0; i < from.size(); ++i) {
    const Tensor &source = from[i], &target = to[i];
    if (!source.is_cuda() || source.device() != from.front().device() ||
        target.device() != source.device() || target.scalar_type() != source.scalar_type() ||
        target.sizes() != source.sizes() || target.strides() != source.strides() ||
        !source.is_non_overlapping_and_dense()) {
      return false;
    }
  }
  return true;
}

void copy_tensors_at_once(const std::vector<Tensor>& from, const std::vector<Tensor>& to) {
  const c10::cuda::CUDAGuard guard(from.front().device());
  TensorCopies copies;
  for (size_t i = 0; i < from.size(); ++i) {
    copies.of[copies.count++] = {.from = from[i].const_data_ptr(),
                                 .to = to[i].mutable_data_ptr(),
                                 .bytes = static_cast<int64_t>(from[i].nbytes())};
    if (copies.count < kMostCopies && i + 1 < from.size()) continue;
    C10_CUDA_CHECK(copy_each(copies, c10::cuda::getCurrentCUDAStream()));
    copies.count = 0;
  }
}

}  // namespace ddpm::cuda
