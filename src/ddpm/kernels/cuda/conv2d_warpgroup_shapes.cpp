#include <cstdint>

#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"

namespace ddpm::cuda {

int conv2d_warpgroup_parts(const WarpgroupConv& conv) {
  return conv.width == 4 ? kPartsOfFour : conv.height * conv.width / kSumPixels;
}

bool takes_norm_from_sums(const WarpgroupConv& conv, const NormFromSums& norm) {
  constexpr int kEight = 8;  // bf16 of a load
  const auto is_aligned = [](const void* table) {
    return reinterpret_cast<uintptr_t>(table) % (kEight * sizeof(uint16_t)) == 0;
  };
  const int of_group = (conv.channels + conv.rest_channels) / norm.groups;
  return conv.width == 4 && (of_group == 8 || of_group == 16 || of_group == 32) &&
         norm.time_embedding == nullptr && is_aligned(norm.weight) && is_aligned(norm.bias) &&
         is_aligned(norm.scale) && is_aligned(norm.shift) && norm.scale_stride % kEight == 0;
}

}  // namespace ddpm::cuda
