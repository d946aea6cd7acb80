#include "model_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/core/log.h"
#include "ddpm/pipeline/guided_denoiser.h"
#include "enum_option.h"
#include "field_flags.h"

namespace ddpm::app {
namespace {

int64_t class_index(const ModelFolder& folder, const std::string& name) {
  const int64_t classes = count_classes(folder);
  check_arg(classes > 0, "[--class] '", name,
            "': expected none, this model was trained without class labels");
  const auto& names = folder.extras.class_names;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return found - names.begin();
  if (name == "none" && folder.extras.null_class >= 0) return folder.extras.null_class;
  const bool is_number = !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
  std::string known;
  for (const auto& each : names) known += (known.empty() ? "" : ", ") + each;
  check_arg(is_number && name.size() < 10, "[--class] '", name, "': expected ",
            known.empty() ? "a class number, this model names none" : "one of " + known);
  const int64_t index = std::stoll(name);
  check_arg(index < classes, "[--class] expected 0 to ", classes - 1, ", got ", index);
  return index;
}

std::string interval_text(const std::vector<double>& interval) {
  return c10::str(interval.at(0), ",", interval.at(1));
}

void check_guidance(const ModelFlags& flags) {
  const GuidanceOptions& guidance = flags.guidance;
  const bool more =
      guidance.rescale > 0 || !guidance.interval.empty() || !flags.guide_model.empty();
  check_arg(guidance.scale != 1 || !more,
            "[--guidance] expected a scale other than 1 with --guidance-rescale, "
            "--guidance-interval or --guide-model");
}

}  // namespace

void add_model_flags(CLI::App& command, ModelFlags& flags) {
  command.add_option("model", flags.model, "run folder, checkpoint or model folder")->required();
  command.add_option("--device", flags.pipeline.device, "auto, cpu, cuda or cuda:N")
      ->capture_default_str();
  add_enum_option(command, "--precision", flags.pipeline.precision, "of the network; default fp32");
  command.add_option("--threads", flags.threads, "CPU threads; 0: one a core");
  command.add_flag("--raw-weights", flags.pipeline.raw_weights, "the weights instead of their EMA");
  command.add_flag("-q,--quiet", flags.quiet, "no progress");
  command
      .add_option("--class", flags.class_name,
                  "class name or number, or none where the model knows it; default: each in turn")
      ->group("Guidance");
  add_field_flags(command, list_fields(flags.guidance), "Guidance", [](const std::string& key) {
    return key == "scale" ? "--guidance" : "--guidance-" + key;
  });
  command
      .add_option("--guide-model", flags.guide_model,
                  "a weaker model whose answer is the weak one (autoguidance)")
      ->group("Guidance");
  add_sampler_flags(command, flags.sampler);
}

LoadedModel load_model(const ModelFlags& flags) {
  check_guidance(flags);
  configure_cpu(flags.threads);
  configure_gpu();
  LoadedModel model{load_pipeline(flags.model, flags.pipeline), nullptr};
  if (!flags.guide_model.empty()) {
    model.guide = std::make_unique<Pipeline>(load_pipeline(flags.guide_model, flags.pipeline));
  }
  if (!model.pipeline.folder.scheduler_found) {
    log_warn("[" + flags.model +
             "] no scheduler file beside the network: taking the linear schedule "
             "with T = 1000 and epsilon prediction");
  }
  return model;
}

ImageRequest steered(ImageRequest request, const ModelFlags& flags, const LoadedModel& model) {
  request.guidance = flags.guidance;
  request.guide = model.guide.get();
  const int64_t count = request.num_images;
  const int64_t classes = count_classes(model.pipeline.folder);
  if (!flags.class_name.empty()) {
    request.class_labels =
        at::full({count}, class_index(model.pipeline.folder, flags.class_name), at::kLong);
  } else if (classes > 0) {
    request.class_labels =
        (at::arange(count, at::kLong) + static_cast<int64_t>(request.first_image)) % classes;
  }
  return request;
}

TextChunks model_text(const ModelFlags& flags, const LoadedModel& model,
                      const SamplerOptions& options, int64_t steps) {
  TextChunks text{{"Software", "ddpm.cpp"},
                  {"ddpm.model", short_model_hash(model.pipeline.folder.model_hash)},
                  {"ddpm.steps", std::to_string(steps)}};
  append(text, sampler_text(options));
  if (!flags.class_name.empty()) text.emplace_back("ddpm.class", flags.class_name);
  const GuidanceOptions& guidance = flags.guidance;
  if (guidance.scale != 1) text.emplace_back("ddpm.guidance", c10::str(guidance.scale));
  if (guidance.rescale > 0) text.emplace_back("ddpm.guidance_rescale", c10::str(guidance.rescale));
  if (!guidance.interval.empty()) {
    text.emplace_back("ddpm.guidance_interval", interval_text(guidance.interval));
  }
  if (model.guide) {
    text.emplace_back("ddpm.guide_model", short_model_hash(model.guide->folder.model_hash));
  }
  return text;
}

TextChunks seed_text(const ImageRequest& request) {
  return {{"ddpm.seed", std::to_string(request.seed)},
          {"ddpm.first_image", std::to_string(request.first_image)}};
}

void append(TextChunks& text, const TextChunks& more) {
  text.insert(text.end(), more.begin(), more.end());
}

}  // namespace ddpm::app
