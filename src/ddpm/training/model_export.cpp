#include "ddpm/training/model_export.h"

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/diffusion/betas.h"

namespace ddpm {

std::string export_model_folder(const std::filesystem::path& path, const RunConfig& config,
                                const NamedTensors& weights, const ImageSet& images, int64_t step) {
  ModelFolder folder = model_of_recipe(config);
  folder.betas = unscaled_betas(config.diffusion);
  folder.weights = weights;
  folder.extras.class_names = images.class_names;
  folder.extras.data_name = images.name;
  folder.extras.image_size = images.images.size(2);
  folder.extras.step = step;
  return write_model_folder(path, folder, /*overwrite=*/true);
}

}  // namespace ddpm
