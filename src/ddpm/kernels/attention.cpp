#include "ddpm/kernels/attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "ddpm/core/check.h"
#include "ddpm/kernels/cpu/attention_bf16.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/attention_function.h"
#endif

namespace ddpm {

Tensor attention(const Tensor& qkv, int64_t num_heads) {
  check_arg(qkv.dim() == 3 && num_heads >= 1 && qkv.size(2) % (3 * num_heads) == 0,
            "[attention] qkv must hold three times the heads' channels: expected [N, L, 3 C] with ",
            num_heads, " heads in C, got ", qkv.sizes());
#ifdef DDPM_CUDA
  if (cuda::attention_is_of_few_pixels(qkv, num_heads)) {
    return cuda::few_pixels_attention(qkv, num_heads);
  }
  if (cuda::attention_is_fused(qkv, num_heads)) return cuda::fused_attention(qkv);
#endif
  if (!at::GradMode::is_enabled() && cpu::attention_has_bf16_blocks(qkv, num_heads)) {
    return cpu::attend_bf16(qkv, num_heads);
  }
  const int64_t images = qkv.size(0);
  const int64_t length = qkv.size(1);
  const Tensor heads = qkv.view({images, length, 3, num_heads, -1}).permute({2, 0, 3, 1, 4});
  return at::scaled_dot_product_attention(heads[0], heads[1], heads[2])
      .transpose(1, 2)
      .reshape({images, length, qkv.size(2) / 3});
}

}  // namespace ddpm
