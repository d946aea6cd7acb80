#include "ddpm/kernels/copy_tensors.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/copy_tensors_function.h"
#endif

namespace ddpm {

void copy_tensors(const std::vector<Tensor>& from, const std::vector<Tensor>& to) {
  check_arg(from.size() == to.size(),
            "[copy_tensors] expected as many tensors to copy to as there ", "are to copy, ",
            from.size(), ", got ", to.size());
  if (from.empty()) return;
#ifdef DDPM_CUDA
  if (cuda::copies_tensors_at_once(from, to)) return cuda::copy_tensors_at_once(from, to);
#endif
  at::_foreach_copy_(to, from);
}

}  // namespace ddpm
