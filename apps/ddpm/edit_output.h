#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/data/image_codec.h"

namespace ddpm::app {

/// What an edit made, and what it was made from.
struct EditOutput {
  std::vector<std::pair<std::string, Tensor>>
      given;                            ///< Name and [C, H, W]: a strip's first tiles.
  Tensor images;                        ///< [N, C, H, W] in [-1, 1].
  std::vector<std::string> names = {};  ///< Of the images in a strip; empty: 0, 1, ..
  TextChunks text;                      ///< For every PNG.
  int64_t scale = 1;  ///< Each pixel becomes a square; 0 in a strip: until it can be seen.
};

/// Checks that an output can be written, before the work for it is done: as for samples, but a
/// .webp needs images in time.
void check_edit_output(const std::string& path, bool animates);

/// NAME.png: the image itself, or a grid of several; a name with "strip" labels them and what they
/// were made from. NAME.webp plays a path there and back. NAME.npz and folders as for samples.
void write_edit_output(const std::string& path, const EditOutput& output);

}  // namespace ddpm::app
