#pragma once

#include <cstdint>

#include "ddpm/config/guidance_config.h"
#include "ddpm/pipeline/captured_denoise_fn.h"
#include "ddpm/pipeline/pipeline.h"
#include "ddpm/sampling/denoiser.h"

namespace ddpm {

/// What steers a network, for one batch of images.
struct Conditioning {
  Tensor class_labels = {};         ///< [N] int64 for a network with classes, else undefined.
  Tensor low_resolution = {};       ///< The images that the model enlarges, as make_denoise_fn has.
  GuidanceOptions guidance = {};    ///< Scale 1: none.
  const Pipeline* guide = nullptr;  ///< A weaker model to guide with; without, the null class does.
  ClassifierGuide classifier = {};
};

/// The number of classes that a model draws, those of its table but the null class, or that a
/// classifier knows.
int64_t count_classes(const ModelFolder& folder);

/// What a classifier calls a model's classes: its labels of the same names, or the same labels
/// where one of the two has no names.
///
/// @param class_labels [N] int64, of the model.
/// @return             [N] int64, of the classifier.
/// @throws std::invalid_argument, naming it, if the classifier has no such class, a label is the
///         model's null class, or without names the numbers of classes differ.
Tensor classifier_labels(const ModelFolder& model, const ModelFolder& classifier,
                         const Tensor& class_labels);

/// The network for labels that differ from call to call, as those of a server's batches and of an
/// evaluation do. Make it once: a GPU's graphs are kept in it. A self-conditioned network gets no
/// guess. Labels may lie on the CPU.
///
/// @throws std::invalid_argument as check_draws_images(), or if the model enlarges images.
LabelledDenoiseFn make_labelled_denoise_fn(const Pipeline& pipeline);

/// A model as samplers and editing take it: its network for these labels, guided. With a guide,
/// autoguidance: the guide gets the same labels if it has classes. Without, classifier-free
/// guidance, where images whose label is the null class itself are not guided. A classifier adds
/// its gradient to either, or to the network's own answer.
///
/// @throws std::invalid_argument if it is a classifier; if the labels don't fit the model; if
///         guidance is asked of a model without a null class and no guide is given; if a guide is
///         given without guidance, or it has another image shape, prediction, schedule, factor of
///         enlargement or number of classes; if the classifier is none, has another image shape or
///         schedule, or doesn't know its labels; or as make_denoise_fn and guidance.h do.
Denoiser make_denoiser(const Pipeline& pipeline, const Conditioning& conditioning);

}  // namespace ddpm
