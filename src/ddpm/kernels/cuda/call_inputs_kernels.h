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
  bool operator==(const MapCopy&) const = default;
};
/// So many words of 4 bytes.
struct WordsCopy {
  const uint32_t* from = nullptr;
  uint32_t* to = nullptr;
  int64_t words = 0;
  bool operator==(const WordsCopy&) const = default;
};

/// A call's inputs, or its answer, which is a map alone.
struct CallCopy {
  MapCopy map;  ///< Of at least one pixel.
  WordsCopy t = {}, labels = {};
  bool operator==(const CallCopy&) const = default;
};

/// All of it in one kernel, whose parameter the copy is.
cudaError_t copy_call_inputs(const CallCopy& copy, cudaStream_t stream);

}  // namespace ddpm::cuda
