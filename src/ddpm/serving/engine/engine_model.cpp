#include "ddpm/serving/engine/engine_model.h"

#include <ATen/ATen.h>

#include <map>
#include <memory>

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

void check_can_be_served(const ModelFolder& folder) {
  check_draws_images(folder);
  check_arg(folder.extras.super_resolution == 0,
            "[engine_model] expected a model that draws from noise alone, got one that enlarges "
            "images (ddpm edit superres)");
  check_arg(!folder.extras.self_conditioning,
            "[engine_model] expected a model that sees x_t alone, got a self-conditioned one "
            "(ddpm sample)");
}

/// A denoise function for each number of rows, with labels in a place of their own: what is
/// captured of it as a CUDA graph reads them there.
class BoundNetwork {
 public:
  explicit BoundNetwork(const Pipeline& pipeline) : pipeline_(pipeline) {}

  Tensor operator()(const Tensor& x_t, const Tensor& t, const Tensor& class_labels) const {
    Bound& bound = (*by_rows_)[x_t.size(0)];
    if (!bound.denoise) {
      bound.labels = class_labels.defined() ? class_labels.clone() : class_labels;
      bound.denoise = make_denoise_fn(pipeline_, bound.labels);
    } else if (class_labels.defined()) {
      bound.labels.copy_(class_labels);
    }
    return bound.denoise(x_t, t);
  }

 private:
  struct Bound {
    Tensor labels;
    DenoiseFn denoise;
  };

  Pipeline pipeline_;
  std::shared_ptr<std::map<int64_t, Bound>> by_rows_ = std::make_shared<std::map<int64_t, Bound>>();
};

}  // namespace

EngineNetwork engine_network(const Pipeline& pipeline) { return BoundNetwork(pipeline); }

EngineModel engine_model(const std::string& id, const std::filesystem::path& path,
                         const PipelineOptions& options) {
  return engine_model(id, read_model(path, options.raw_weights), path, options);
}

EngineModel engine_model(const std::string& id, const ModelFolder& folder,
                         const std::filesystem::path& path, const PipelineOptions& options) {
  check_can_be_served(folder);
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
  model.device = select_device(options.device);
  model.size_bytes =
      weight_bytes(folder.weights, dtype_of(resolve_precision(options.precision, model.device)));
  model.load = [path, options, hash = folder.model_hash] {
    const Pipeline pipeline = load_pipeline(path, options);
    check_state(pipeline.folder.model_hash == hash, "[", path.string(),
                "] expected the weights of when the models were last looked at, ",
                short_model_hash(hash), ", got ", short_model_hash(pipeline.folder.model_hash));
    return engine_network(pipeline);
  };
  return model;
}

}  // namespace ddpm
