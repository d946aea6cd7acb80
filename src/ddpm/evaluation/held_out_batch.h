#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"
#include "ddpm/data/image_set.h"

namespace ddpm {

/// Images first .. first + count - 1 of a set that is evaluated, on the network's device.
struct HeldOutBatch {
  Tensor x_start;  ///< [N, C, H, W] float32: pixel / 127.5 - 1.
  Tensor labels;   ///< [N] int64.
  int64_t first = 0;
};

/// @throws std::invalid_argument in the name of `function` unless the set has at least 2 images of
///         uint8 with a label each, and batch_size is at least 1.
void check_held_out(const char* function, const ImageSet& set, int64_t batch_size);

HeldOutBatch take_held_out_batch(const ImageSet& set, int64_t first, int64_t count,
                                 at::Device device);

/// The noise of a batch at one of its draws, keyed by (seed, image, draw): the same for every
/// model.
///
/// @return like batch.x_start; the copy to a GPU is not waited for.
Tensor held_out_noise(const HeldOutBatch& batch, uint64_t seed, int64_t draw);

}  // namespace ddpm
