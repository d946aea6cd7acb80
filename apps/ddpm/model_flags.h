#pragma once

#include <memory>
#include <string>

#include "ddpm/config/guidance_config.h"
#include "ddpm/data/image_codec.h"
#include "ddpm/pipeline/pipeline.h"
#include "sampler_flags.h"

namespace ddpm::app {

/// Which model draws, and how it is steered: what `ddpm sample` and `ddpm edit` share.
struct ModelFlags {
  std::string model;
  PipelineOptions pipeline;
  SamplerFlags sampler;  ///< What was not given keeps the model's own value.
  std::string class_name;
  GuidanceOptions guidance;
  std::string guide_model;
  std::string classifier;
  double classifier_scale = 1.0;
  int64_t threads = 0;
  bool quiet = false;
};

/// Adds the positional model and the flags; `flags` must outlive the command.
void add_model_flags(CLI::App& command, ModelFlags& flags);

/// A model that is ready to draw.
struct LoadedModel {
  Pipeline pipeline;
  std::unique_ptr<Pipeline> guide;       ///< Of --guide-model, or nothing.
  std::unique_ptr<Pipeline> classifier;  ///< Of --classifier, or nothing.

  /// The model that knows what --class names: this one, or for want of classes its classifier.
  const ModelFolder& class_source() const;
};

/// Sets the process up, loads the model and what guides it, and warns of what its files don't say.
///
/// @throws std::invalid_argument if the flags contradict each other, or as load_pipeline does.
LoadedModel load_model(const ModelFlags& flags);

/// `request` for this model: guidance, and a label for each image. With --class one for all, else
/// each class in turn; none for a model without classes and without a classifier.
///
/// @throws std::invalid_argument if the model has no class of the name, or its classifier hasn't.
ImageRequest steered(ImageRequest request, const ModelFlags& flags, const LoadedModel& model);

/// Text chunks that say which model drew, and how.
///
/// @param steps as count_sampler_steps gives it.
TextChunks model_text(const ModelFlags& flags, const LoadedModel& model,
                      const SamplerOptions& options, int64_t steps);

void append(TextChunks& text, const TextChunks& more);

}  // namespace ddpm::app
