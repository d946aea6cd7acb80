#include "run_estimate.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "ddpm/core/device.h"
#include "ddpm/core/progress.h"
#include "ddpm/core/resources.h"
#include "ddpm/data/batch_loader.h"
#include "ddpm/model/network.h"
#include "ddpm/pipeline/precision.h"
#include "ddpm/training/train_step.h"
#include "enum_option.h"

namespace ddpm::app {
namespace {

constexpr int64_t kTrialBatch = 8;

struct Trial {
  double seconds_per_image = 0;
  uint64_t activation_bytes_per_image = 0;
};

/// Takes two steps of a small batch; the first one pays for start-up and is not timed.
Trial try_steps(RunConfig recipe, const ImageSet& set, at::Device device) {
  recipe.train.batch_size =
      std::min(recipe.train.batch_size / recipe.train.accumulation, kTrialBatch);
  recipe.train.accumulation = 1;
  const auto network = make_network(recipe.model);
  initialize(*network, recipe.train.seed);
  network->to(device);
  TrainStep step(recipe, network, device);
  BatchLoader loader(set, recipe.train.batch_size, recipe.train.seed, recipe.data.horizontal_flip,
                     /*prefetch=*/1, /*first_batch=*/0);
  const uint64_t before = resident_memory_bytes();
  Trial trial;
  for (int64_t i = 0; i < 2; ++i) {
    step.prepare(loader.next(), i);
    const auto begin = std::chrono::steady_clock::now();
    step.run();
    step.optimizer().step.item<int64_t>();  // waits for the device
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    trial.seconds_per_image = elapsed.count() / static_cast<double>(recipe.train.batch_size);
  }
  const uint64_t after = resident_memory_bytes();
  const uint64_t grown = after > before ? after - before : 0;
  trial.activation_bytes_per_image = grown / static_cast<uint64_t>(recipe.train.batch_size);
  return trial;
}

/// To three digits: a trial of one step is no more exact.
double rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return std::strtod(text, nullptr);
}

std::string mebibytes(uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

RunConfig resolve_recipe(RunConfig recipe, const ImageSet& set) {
  recipe.train.precision = resolve_precision(recipe.train);
  const auto num_classes = recipe.takes_labels() ? static_cast<int64_t>(set.class_names.size()) : 0;
  return resolve_run_config(recipe, set.images.size(1), set.images.size(2), num_classes);
}

nlohmann::ordered_json estimate_run(const RunConfig& recipe, const ImageSet& set) {
  const auto parameters = static_cast<uint64_t>(count_parameters(*make_network(recipe.model)));
  const at::Device device = select_device(recipe.train.device);
  const Trial trial = try_steps(recipe, set, device);
  // fp32 masters, gradients, two moments and the EMA; bf16 adds a copy of weights and gradients.
  const uint64_t state_bytes = parameters * (recipe.train.precision == Precision::kBf16 ? 24 : 20);
  const auto micro_batch =
      static_cast<uint64_t>(recipe.train.batch_size / recipe.train.accumulation);
  const double step_seconds =
      trial.seconds_per_image * static_cast<double>(recipe.train.batch_size);

  nlohmann::ordered_json about;
  about["network"] = enum_word(recipe.model.kind);
  about["parameters"] = parameters;
  about["data"] = {{"name", set.name},
                   {"images", set.images.size(0)},
                   {"shape", set.images.sizes().slice(1).vec()},
                   {"classes", set.class_names.size()},
                   {"skipped", set.skipped.size()},
                   {"memory", mebibytes(set.images.nbytes())}};
  about["memory"] = {{"weights_and_optimizer", mebibytes(state_bytes)}};
  if (device.is_cpu()) {
    about["memory"]["activations"] = mebibytes(trial.activation_bytes_per_image * micro_batch);
  }
  about["time"] = {
      {"step_seconds", rounded(step_seconds)},
      {"images_per_second", rounded(1 / trial.seconds_per_image)},
      {"whole_run", format_duration(step_seconds * static_cast<double>(recipe.train.steps))}};
  about["device"] = device.str();
  return about;
}

nlohmann::ordered_json describe_run(const RunConfig& recipe) {
  configure_cpu(recipe.train.threads);
  configure_gpu();
  const ImageSet set = load_image_set(recipe.data);
  return estimate_run(resolve_recipe(recipe, set), set);
}

}  // namespace ddpm::app
