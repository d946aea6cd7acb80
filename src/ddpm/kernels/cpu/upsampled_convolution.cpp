#include "ddpm/kernels/cpu/upsampled_convolution.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstring>

namespace ddpm {
namespace {

constexpr int64_t kFewestPixels = 64;

/// [.., 3, ..] to what the first and the second phase see of it along `dim`: [.., 2, ..] each.
Tensor phases_along(const Tensor& weight, int64_t dim) {
  const auto tap = [&](int64_t i) { return weight.select(dim, i); };
  const Tensor first = at::stack({tap(0), tap(1) + tap(2)}, dim);
  const Tensor second = at::stack({tap(0) + tap(1), tap(2)}, dim);
  return at::stack({first, second});
}

/// [N, 4 O, H + 1, W + 1] of the phases to [N, O, 2 H, 2 W], both channels_last.
Tensor interleave(const Tensor& phases) {
  const int64_t height = phases.size(2) - 1, width = phases.size(3) - 1;
  const int64_t channels = phases.size(1) / 4;
  const Tensor y = at::empty({phases.size(0), channels, 2 * height, 2 * width},
                             phases.options().memory_format(at::MemoryFormat::ChannelsLast));
  const auto pixel_bytes = static_cast<size_t>(channels * phases.element_size());
  const auto* const from = static_cast<const char*>(phases.const_data_ptr());
  auto* const to = static_cast<char*>(y.mutable_data_ptr());
  at::parallel_for(0, phases.size(0) * 2 * height, 8, [&](int64_t begin, int64_t end) {
    for (int64_t y_row = begin; y_row < end; ++y_row) {
      const int64_t image = y_row / (2 * height);
      const int64_t i = y_row % (2 * height);
      const int64_t row = image * (height + 1) + (i + 1) / 2;  // i / 2 + its phase
      for (int64_t j = 0; j < 2 * width; ++j) {
        const int64_t phase = 2 * (i % 2) + j % 2;
        const int64_t pixel = row * (width + 1) + (j + 1) / 2;
        std::memcpy(to + static_cast<size_t>(y_row * 2 * width + j) * pixel_bytes,
                    from + static_cast<size_t>(4 * pixel + phase) * pixel_bytes, pixel_bytes);
      }
    }
  });
  return y;
}

}  // namespace

Tensor phase_weight(const Tensor& weight) {
  const Tensor rows = phases_along(weight, /*dim=*/2);  // [2, O, C, 2, 3]
  const Tensor phases = phases_along(rows, /*dim=*/4);  // [2, 2, O, C, 2, 2]
  return phases.transpose(0, 1).flatten(0, 2).contiguous(at::MemoryFormat::ChannelsLast);
}

Tensor packed_upsampled_conv2d(const Tensor& x, const PackedWeight& phases, const Tensor& bias) {
  const Tensor four_biases = bias.defined() ? bias.repeat({4}) : bias;
  return interleave(packed_conv2d(x, phases, four_biases, /*residual=*/{}, /*stride=*/1,
                                  /*padding=*/1)
                        .contiguous(at::MemoryFormat::ChannelsLast));
}

bool prefers_phases(const Tensor& x) {
  return x.scalar_type() == at::kFloat && x.size(0) * x.size(2) * x.size(3) >= kFewestPixels;
}

}  // namespace ddpm
