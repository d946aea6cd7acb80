#pragma once

#include <cstdint>
#include <string>

#include "ddpm/config/guidance_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/data/image_codec.h"

namespace ddpm {

/// How pictures were drawn, as far as their text chunks say it.
struct PictureOrigin {
  std::string model_hash;  ///< Its first 12 digits (short_model_hash).
  SamplerOptions sampler;
  int64_t steps = 0;            ///< Noise levels, as count_sampler_steps gives them.
  std::string class_name = "";  ///< Empty: not said.
  GuidanceOptions guidance = {};
};

/// Text chunks that say which model drew, and how: docs/formats.md, "Pictures". Of the sampler
/// `ddpm.sampler`, `ddpm.spacing`, `ddpm.clip`, and each other option that is not the default.
TextChunks origin_text(const PictureOrigin& origin);

/// Text chunks that say from which seed images were drawn.
TextChunks seed_text(uint64_t seed, uint64_t first_image);

}  // namespace ddpm
