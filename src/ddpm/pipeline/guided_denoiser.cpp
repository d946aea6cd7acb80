#include "ddpm/pipeline/guided_denoiser.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/send_to_device.h"
#include "ddpm/model/network.h"
#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/sampling/classifier_guidance.h"
#include "ddpm/sampling/guidance.h"

namespace ddpm {
namespace {

/// Classes of a classifier, or rows of a model's table of classes, the null class among them.
int64_t count_labels(const ModelFolder& folder) {
  switch (folder.model.kind) {
    case ModelKind::kUNet2D:
      return folder.model.unet2d.num_class_embeds;
    case ModelKind::kSimpleUnet:
      return 0;
    case ModelKind::kClassifier:
      return folder.model.classifier.num_classes;
  }
  throw std::logic_error("[count_labels] not a ModelKind");
}

void check_labels(const ModelFolder& folder, const Tensor& labels) {
  const int64_t known = count_labels(folder);
  check_arg(!labels.defined() || known > 0,
            "[make_denoiser] class: expected none for a model without classes, got one");
  check_arg(labels.defined() || known == 0, "[make_denoiser] class: expected one of its ",
            count_classes(folder), " classes, which this model needs, got none");
  if (!labels.defined()) return;
  check_arg(labels.dim() == 1, "[make_denoiser] class_labels: expected one for each image, got ",
            "shape ", labels.sizes());
  const auto lowest = labels.min().item<int64_t>();
  const auto highest = labels.max().item<int64_t>();
  check_arg(lowest >= 0 && highest < known, "[make_denoiser] class: expected 0 to ", known - 1,
            ", got ", lowest < 0 ? lowest : highest);
}

std::string schedule_text(const Pipeline& pipeline) {
  return c10::str(enum_word(pipeline.folder.diffusion.schedule),
                  " with T = ", pipeline.schedule.num_timesteps(), " and a last alpha_bar of ",
                  pipeline.schedule.alphas_cumprod[-1].item<double>());
}

/// What holds for all that guides a model.
///
/// @param role "guide" or "classifier", for the message.
void check_same_diffusion(const char* role, const Pipeline& pipeline, const Pipeline& other) {
  check_arg(other.image_shape() == pipeline.image_shape(), "[make_denoiser] ", role,
            ": expected a model of images ", at::IntArrayRef(pipeline.image_shape()), ", got ",
            at::IntArrayRef(other.image_shape()));
  check_arg(is_same_schedule(other.schedule, pipeline.schedule), "[make_denoiser] ", role,
            ": expected a model of the same noise schedule, ", schedule_text(pipeline), ", got ",
            schedule_text(other));
}

void check_guide(const Pipeline& pipeline, const Pipeline& guide) {
  const ModelFolder& folder = pipeline.folder;
  check_draws_images(guide.folder);
  check_same_diffusion("guide", pipeline, guide);
  check_arg(guide.folder.diffusion.prediction == folder.diffusion.prediction,
            "[make_denoiser] guide: expected prediction ", enum_word(folder.diffusion.prediction),
            ", got ", enum_word(guide.folder.diffusion.prediction));
  check_arg(guide.folder.extras.super_resolution == folder.extras.super_resolution,
            "[make_denoiser] guide: expected a model that enlarges images as this one, by ",
            folder.extras.super_resolution, ", got ", guide.folder.extras.super_resolution);
  const int64_t classes = count_classes(guide.folder);
  check_arg(classes == 0 || classes == count_classes(folder),
            "[make_denoiser] guide: expected a model of ", count_classes(folder),
            " classes or none, got ", classes);
}

DenoiseFn guided_by_model(const Pipeline& pipeline, const Conditioning& conditioning) {
  const Pipeline& guide = *conditioning.guide;
  check_arg(conditioning.guidance.scale != 1,
            "[make_denoiser] guide: expected a guidance scale other than 1 with it");
  check_guide(pipeline, guide);
  const Tensor& low = conditioning.low_resolution;
  const Tensor labels = count_classes(guide.folder) > 0 ? conditioning.class_labels : Tensor();
  return autoguidance(pipeline.schedule, conditioning.guidance,
                      make_denoise_fn(pipeline, conditioning.class_labels, low),
                      make_denoise_fn(guide, labels, low));
}

DenoiseFn guided_by_null_class(const Pipeline& pipeline, const Conditioning& conditioning) {
  const Tensor& labels = conditioning.class_labels;
  const Tensor& low = conditioning.low_resolution;
  if (conditioning.guidance.scale == 1) return make_denoise_fn(pipeline, labels, low);
  const int64_t null_class = pipeline.folder.extras.null_class;
  check_arg(null_class >= 0,
            "[make_denoiser] guidance: expected a model trained with train.class_dropout, or a "
            "weaker model to guide with, got one that knows no null class");
  const Tensor both = at::cat({labels, at::full_like(labels, null_class)});
  // One function for both, so that a self-conditioned network keeps its guesses at an interval's
  // ends.
  const DenoiseFn denoise = make_denoise_fn(pipeline, both, low);
  return classifier_free_guidance(pipeline.schedule, conditioning.guidance, denoise, denoise);
}

void check_classifier(const Pipeline& pipeline, const ClassifierGuide& guide) {
  const ModelFolder& classifier = guide.pipeline->folder;
  check_classifies_images(classifier);
  check_same_diffusion("classifier", pipeline, *guide.pipeline);
  const Tensor& labels = guide.class_labels;
  const int64_t known = count_labels(classifier);
  check_arg(labels.defined() && labels.dim() == 1 && labels.min().item<int64_t>() >= 0 &&
                labels.max().item<int64_t>() < known,
            "[make_denoiser] classifier: expected for each image one of its ", known, " classes");
}

/// log p(y | x_t, t) of the classifier's labels.
LogLikelihoodFn log_likelihood(const ClassifierGuide& guide) {
  const Pipeline& classifier = *guide.pipeline;
  const Tensor labels = guide.class_labels.to(classifier.device).unsqueeze(1);
  const at::ScalarType dtype = classifier.network->parameters().front().scalar_type();
  return [network = classifier.network, dtype, labels](const Tensor& x_t, const Tensor& t) {
    const Tensor logits = network->forward(x_t.to(dtype), t, {});
    return logits.to(at::kFloat).log_softmax(/*dim=*/1).gather(/*dim=*/1, labels).squeeze(1);
  };
}

}  // namespace

Tensor classifier_labels(const ModelFolder& model, const ModelFolder& classifier,
                         const Tensor& class_labels) {
  const std::vector<std::string>& names = model.extras.class_names;
  const std::vector<std::string>& known = classifier.extras.class_names;
  const bool by_name = !names.empty() && !known.empty();
  const int64_t classes = count_classes(model);
  check_arg(by_name || classes == count_classes(classifier),
            "[classifier_labels] without names on both sides: expected a classifier of the "
            "model's ",
            classes, " classes, got ", count_classes(classifier));
  Tensor labels = class_labels.clone();
  auto* label = labels.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < labels.numel(); ++i) {
    check_arg(label[i] >= 0 && label[i] < classes,
              "[classifier_labels] expected classes that a classifier can know, got label ",
              label[i], " of ", classes, " classes");
    if (!by_name) continue;
    const std::string& name = names.at(static_cast<size_t>(label[i]));
    const auto found = std::find(known.begin(), known.end(), name);
    check_arg(found != known.end(),
              "[classifier_labels] expected a classifier of the model's "
              "classes, got one without '",
              name, "'");
    label[i] = found - known.begin();
  }
  return labels;
}

int64_t count_classes(const ModelFolder& folder) {
  return folder.extras.null_class >= 0 ? folder.extras.null_class : count_labels(folder);
}

LabelledDenoiseFn make_labelled_denoise_fn(const Pipeline& pipeline) {
  check_draws_images(pipeline.folder);
  const ModelExtras& extras = pipeline.folder.extras;
  check_arg(extras.super_resolution == 0, "[make_labelled_denoise_fn] expected a model that draws ",
            "from noise alone, got one that enlarges images ", extras.super_resolution, " times");
  const NetworkView view{.schedule = pipeline.schedule,
                         .prediction = pipeline.folder.diffusion.prediction,
                         .self_conditioning = extras.self_conditioning};
  const LabelledDenoiseFn answer = labelled_denoise_fn(
      pipeline.network, view, pipeline.network->parameters().front().scalar_type());
  return [answer](const Tensor& x_t, const Tensor& t, const Tensor& class_labels) {
    const bool is_sent = class_labels.defined() && class_labels.is_cpu();
    return answer(x_t, t, is_sent ? send_to_device(class_labels, x_t.device()) : class_labels);
  };
}

Denoiser make_denoiser(const Pipeline& pipeline, const Conditioning& conditioning) {
  check_draws_images(pipeline.folder);
  check_labels(pipeline.folder, conditioning.class_labels);
  Denoiser model{pipeline.schedule, pipeline.folder.diffusion.prediction,
                 conditioning.guide != nullptr ? guided_by_model(pipeline, conditioning)
                                               : guided_by_null_class(pipeline, conditioning)};
  const ClassifierGuide& classifier = conditioning.classifier;
  if (classifier.pipeline == nullptr) return model;
  check_classifier(pipeline, classifier);
  model.denoise = classifier_guidance(model.schedule, model.prediction, classifier.scale,
                                      model.denoise, log_likelihood(classifier));
  return model;
}

}  // namespace ddpm
