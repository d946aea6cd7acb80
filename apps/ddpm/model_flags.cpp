#include "model_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/core/log.h"
#include "ddpm/data/picture_text.h"
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

void check_guidance(const ModelFlags& flags) {
  const GuidanceOptions& guidance = flags.guidance;
  const bool more =
      guidance.rescale > 0 || !guidance.interval.empty() || !flags.guide_model.empty();
  check_arg(guidance.scale != 1 || !more,
            "[--guidance] expected a scale other than 1 with --guidance-rescale, "
            "--guidance-interval or --guide-model");
  check_arg(flags.classifier_scale == 1 || !flags.classifier.empty(),
            "[--classifier-scale] expected --classifier with it");
  check_arg(std::isfinite(flags.classifier_scale) && flags.classifier_scale >= 0,
            "[--classifier-scale] expected a number of at least 0, got ", flags.classifier_scale);
}

}  // namespace

void add_model_flags(CLI::App& command, ModelFlags& flags) {
  command.add_option("model", flags.model, "run folder, checkpoint or model folder")->required();
  command.add_option("--device", flags.pipeline.device, "auto, cpu, cuda or cuda:N")
      ->capture_default_str();
  add_enum_option(command, "--precision", flags.pipeline.precision,
                  "of the network; default fp32; auto: bf16 where it is faster on the device");
  command.add_option("--threads", flags.threads,
                     "CPU threads; 0: one a core, beside a GPU at most four");
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
  command
      .add_option("--classifier", flags.classifier,
                  "run folder, checkpoint or model folder of a classifier whose gradient leads to "
                  "the class; a model without classes takes those of the classifier")
      ->group("Guidance");
  command
      .add_option("--classifier-scale", flags.classifier_scale,
                  "multiplies the classifier's gradient: more follows the class closer")
      ->capture_default_str()
      ->group("Guidance");
  add_sampler_flags(command, flags.sampler);
}

const ModelFolder& LoadedModel::class_source() const {
  const bool classified = classifier && count_classes(pipeline.folder) == 0;
  return classified ? classifier->folder : pipeline.folder;
}

LoadedModel load_model(const ModelFlags& flags) {
  check_guidance(flags);
  configure_cpu(flags.threads);
  configure_gpu();
  LoadedModel model{load_pipeline(flags.model, flags.pipeline), nullptr, nullptr};
  limit_threads_beside(model.pipeline.device, flags.threads);
  check_draws_images(model.pipeline.folder);
  if (!flags.guide_model.empty()) {
    model.guide = std::make_unique<Pipeline>(load_pipeline(flags.guide_model, flags.pipeline));
  }
  if (!flags.classifier.empty()) {
    model.classifier = std::make_unique<Pipeline>(load_pipeline(flags.classifier, flags.pipeline));
    check_classifies_images(model.classifier->folder);
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
  const ModelFolder& source = model.class_source();
  const int64_t classes = count_classes(source);
  Tensor labels;
  if (!flags.class_name.empty()) {
    labels = at::full({count}, class_index(source, flags.class_name), at::kLong);
  } else if (classes > 0) {
    labels = (at::arange(count, at::kLong) + static_cast<int64_t>(request.first_image)) % classes;
  }
  const bool model_knows_them = &source == &model.pipeline.folder;
  if (model_knows_them) request.class_labels = labels;
  if (model.classifier) {
    request.classifier = {
        .pipeline = model.classifier.get(),
        .scale = flags.classifier_scale,
        .class_labels = model_knows_them
                            ? classifier_labels(source, model.classifier->folder, labels)
                            : labels};
  }
  return request;
}

TextChunks model_text(const ModelFlags& flags, const LoadedModel& model,
                      const SamplerOptions& options, int64_t steps) {
  TextChunks text = origin_text({.model_hash = short_model_hash(model.pipeline.folder.model_hash),
                                 .sampler = options,
                                 .steps = steps,
                                 .class_name = flags.class_name,
                                 .guidance = flags.guidance});
  if (model.guide) {
    text.emplace_back("ddpm.guide_model", short_model_hash(model.guide->folder.model_hash));
  }
  if (model.classifier) {
    text.emplace_back("ddpm.classifier", short_model_hash(model.classifier->folder.model_hash));
    text.emplace_back("ddpm.classifier_scale", c10::str(flags.classifier_scale));
  }
  return text;
}

void append(TextChunks& text, const TextChunks& more) {
  text.insert(text.end(), more.begin(), more.end());
}

}  // namespace ddpm::app
