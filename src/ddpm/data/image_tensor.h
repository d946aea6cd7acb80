#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/data/grid.h"
#include "ddpm/data/image.h"

namespace ddpm {

/// pixel = round((x + 1) * 127.5), with x clamped to [-1, 1].
///
/// @param chw [C, H, W] floating, C 1 or 3, any device.
/// @throws std::invalid_argument if the shape is another, or a value is NaN.
Image image_from_tensor(const Tensor& chw);

/// x = pixel / 127.5 - 1.
///
/// @return [C, H, W] float32 in [-1, 1].
Tensor image_to_tensor(const Image& image);

/// The images of a batch, as image_from_tensor makes them.
///
/// @param nchw [N, C, H, W].
std::vector<Image> images_from_tensor(const Tensor& nchw);

/// Lays a batch out row by row on white; see tile_images.
///
/// @param nchw    [N, C, H, W] floating in [-1, 1].
/// @param columns images a row, 1 or more.
/// @param padding white pixels around each image.
/// @param scale   each pixel becomes a square of scale x scale.
Image make_grid(const Tensor& nchw, int64_t columns, int64_t padding = 2, int64_t scale = 1);

/// label_strip for batches: one [N, C, H, W] for each row label, one image for each column label.
Image make_strip(const std::vector<Tensor>& rows, const StripLabels& labels, int64_t scale = 0);

}  // namespace ddpm
