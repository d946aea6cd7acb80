#pragma once

#include <cstdint>

#include "ddpm/config/guidance_config.h"
#include "ddpm/pipeline/pipeline.h"
#include "ddpm/sampling/denoiser.h"

namespace ddpm {

/// What steers a network, for one batch of images.
struct Conditioning {
  Tensor class_labels = {};         ///< [N] int64 for a network with classes, else undefined.
  GuidanceOptions guidance = {};    ///< Scale 1: none.
  const Pipeline* guide = nullptr;  ///< A weaker model to guide with; without, the null class does.
};

/// The number of classes that a model draws: those of its table but the null class.
int64_t count_classes(const ModelFolder& folder);

/// A model as samplers and editing take it: its network for these labels, guided. With a guide,
/// autoguidance: the guide gets the same labels if it has classes. Without, classifier-free
/// guidance, where images whose label is the null class itself are not guided.
///
/// @throws std::invalid_argument if the labels don't fit the model; if guidance is asked of a model
///         without a null class and no guide is given; if a guide is given without guidance, or it
///         has another image shape, prediction, schedule or number of classes; or as guidance.h
///         does.
Denoiser make_denoiser(const Pipeline& pipeline, const Conditioning& conditioning);

}  // namespace ddpm
