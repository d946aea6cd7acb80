#include "ddpm/serving/engine/engine_model.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/pipeline/precision.h"

namespace ddpm {
namespace {

int64_t weight_bytes(const NamedTensors& weights, at::ScalarType dtype) {
  int64_t elements = 0;
  for (const auto& [name, tensor] : weights) elements += tensor.numel();
  return elements * static_cast<int64_t>(at::elementSize(dtype));
}

}  // namespace

EngineModel engine_model(const std::string& id, const std::filesystem::path& path,
                         const PipelineOptions& options) {
  return engine_model(id, read_model(path, options.raw_weights), path, options);
}

EngineModel engine_model(const std::string& id, const ModelFolder& folder,
                         const std::filesystem::path& path, const PipelineOptions& options) {
  check_draws_images(folder);
  Pipeline known;
  known.folder = folder;
  EngineModel model;
  model.id = id;
  model.schedule = make_noise_schedule(folder.diffusion);
  model.prediction = folder.diffusion.prediction;
  model.image_shape = known.image_shape();
  const ModelConfig& config = folder.model;
  model.num_labels = config.kind == ModelKind::kUNet2D ? config.unet2d.num_class_embeds : 0;
  model.null_class = folder.extras.null_class;
  model.self_conditioning = folder.extras.self_conditioning;
  model.super_resolution = folder.extras.super_resolution;
  model.device = select_device(options.device);
  model.size_bytes =
      weight_bytes(folder.weights, dtype_of(resolve_precision(options.precision, model.device)));
  model.load = [path, options, hash = folder.model_hash]() -> EngineNetwork {
    const Pipeline pipeline = load_pipeline(path, options);
    check_state(pipeline.folder.model_hash == hash, "[", path.string(),
                "] expected the weights of when the models were last looked at, ",
                short_model_hash(hash), ", got ", short_model_hash(pipeline.folder.model_hash));
    return pipeline.answers;
  };
  return model;
}

}  // namespace ddpm
