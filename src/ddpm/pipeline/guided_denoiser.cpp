#include "ddpm/pipeline/guided_denoiser.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#include "ddpm/sampling/guidance.h"

namespace ddpm {
namespace {

/// Rows of the model's table of classes, the null class among them.
int64_t count_labels(const ModelFolder& folder) {
  return folder.model.kind == ModelKind::kUNet2D ? folder.model.unet2d.num_class_embeds : 0;
}

void check_labels(const ModelFolder& folder, const Tensor& labels) {
  const int64_t known = count_labels(folder);
  check_arg(!labels.defined() || known > 0,
            "[make_denoiser] class: expected none for a model without classes");
  check_arg(labels.defined() || known == 0, "[make_denoiser] class: this model needs one of its ",
            count_classes(folder), " classes");
  if (!labels.defined()) return;
  check_arg(labels.dim() == 1, "[make_denoiser] class_labels: expected one for each image, got ",
            "shape ", labels.sizes());
  check_arg(labels.min().item<int64_t>() >= 0 && labels.max().item<int64_t>() < known,
            "[make_denoiser] class: expected 0 to ", known - 1);
}

void check_guide(const Pipeline& pipeline, const Pipeline& guide) {
  const ModelFolder& folder = pipeline.folder;
  check_arg(guide.image_shape() == pipeline.image_shape(),
            "[make_denoiser] guide: expected a model of images ",
            at::IntArrayRef(pipeline.image_shape()), ", got ",
            at::IntArrayRef(guide.image_shape()));
  check_arg(guide.folder.diffusion.prediction == folder.diffusion.prediction,
            "[make_denoiser] guide: expected prediction ", enum_word(folder.diffusion.prediction),
            ", got ", enum_word(guide.folder.diffusion.prediction));
  check_arg(guide.schedule.num_timesteps() == pipeline.schedule.num_timesteps() &&
                at::allclose(guide.schedule.alphas_cumprod, pipeline.schedule.alphas_cumprod,
                             /*rtol=*/1e-5, /*atol=*/1e-9),
            "[make_denoiser] guide: expected a model of the same noise schedule");
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
  const Tensor labels = count_classes(guide.folder) > 0 ? conditioning.class_labels : Tensor();
  return autoguidance(pipeline.schedule, conditioning.guidance,
                      make_denoise_fn(pipeline, conditioning.class_labels),
                      make_denoise_fn(guide, labels));
}

DenoiseFn guided_by_null_class(const Pipeline& pipeline, const Conditioning& conditioning) {
  const Tensor& labels = conditioning.class_labels;
  const DenoiseFn conditional = make_denoise_fn(pipeline, labels);
  if (conditioning.guidance.scale == 1) return conditional;
  const int64_t null_class = pipeline.folder.extras.null_class;
  check_arg(null_class >= 0,
            "[make_denoiser] guidance: expected a model trained with train.class_dropout, or a "
            "weaker model to guide with, got one that knows no null class");
  const Tensor both = at::cat({labels, at::full_like(labels, null_class)});
  return classifier_free_guidance(pipeline.schedule, conditioning.guidance, conditional,
                                  make_denoise_fn(pipeline, both));
}

}  // namespace

int64_t count_classes(const ModelFolder& folder) {
  return folder.extras.null_class >= 0 ? folder.extras.null_class : count_labels(folder);
}

Denoiser make_denoiser(const Pipeline& pipeline, const Conditioning& conditioning) {
  check_labels(pipeline.folder, conditioning.class_labels);
  return {pipeline.schedule, pipeline.folder.diffusion.prediction,
          conditioning.guide != nullptr ? guided_by_model(pipeline, conditioning)
                                        : guided_by_null_class(pipeline, conditioning)};
}

}  // namespace ddpm
