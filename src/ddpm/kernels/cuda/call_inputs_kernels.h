#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// A map on its way into another: from any strides, in values, to [images, height, width,
/// channels].
struct MapCopy {
  int images = 0, height = 0, width = 0, channels = 0;
  int64_t image_stride = 0, channel_stride = 0, row_stride = 0, column_stride = 0;
  const void* from = nullptr;
  void* to = nullptr;
  bool from_bf16 = false, to_bf16 = false;
};
/// So many words of 4 bytes.
struct WordsCopy {
  const uint32_t* from = nullptr;
  uint32_t* to = nullptr;
  int64_t words = 0;
};

/// All of them in one kernel; at least one pixel.
cudaError_t copy_call_inputs(const MapCopy& map, const WordsCopy& t, const WordsCopy& labels,
                             cudaStream_t stream);

}  // namespace ddpm::cuda
