#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/serving/engine/engine_batch.h"
#include "ddpm/serving/engine/engine_slots.h"

namespace ddpm {

/// The input of one network call for N images. Its rows are the images, then once more those that
/// are guided, with the model's null class, then copies of the first row.
struct CallInput {
  Tensor slots;         ///< [rows] int64, where each row's state lies; the first N are the images'.
  Tensor guess_rows;    ///< [rows] int64, of EngineSlots' guesses; undefined without.
  Tensor x;             ///< [rows, C, H, W]
  Tensor t;             ///< [rows] int64, or float32 if some image has fractional timesteps.
  Tensor class_labels;  ///< [rows] int64; undefined for a model without classes.
};

/// All of its numbers go to the model's device by one copy.
///
/// @param rows count_rows(images) or more.
CallInput gather_input(const EngineModel& model, const EngineSlots& slots,
                       const std::vector<BatchImage>& images, int64_t rows);

}  // namespace ddpm
