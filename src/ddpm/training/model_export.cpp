#include "ddpm/training/model_export.h"

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/diffusion/betas.h"

namespace ddpm {

std::string export_model_folder(const std::filesystem::path& path, const RunConfig& config,
                                const NamedTensors& weights, const ImageSet& images, int64_t step) {
  DiffusionConfig unscaled = config.diffusion;
  unscaled.zero_terminal_snr = false;
  const Tensor betas = make_betas(unscaled);
  const auto* first = betas.const_data_ptr<double>();
  ModelFolder folder;
  folder.model = config.model;
  folder.diffusion = config.diffusion;
  folder.scheduler.timestep_spacing = TimestepSpacing::kTrailing;
  folder.betas.assign(first, first + betas.numel());
  folder.weights = weights;
  folder.extras.class_names = images.class_names;
  folder.extras.data_name = images.name;
  folder.extras.image_size = images.images.size(2);
  folder.extras.step = step;
  folder.extras.seed = config.train.seed;
  folder.extras.null_class = config.null_class();
  folder.extras.self_conditioning = config.train.self_conditioning;
  return write_model_folder(path, folder, /*overwrite=*/true);
}

}  // namespace ddpm
