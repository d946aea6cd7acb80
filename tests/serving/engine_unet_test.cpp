#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <mutex>

#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/pipeline/pipeline.h"
#include "ddpm/serving/engine/engine.h"
#include "pipeline/small_model.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::small_model;
using testing::tensors_near;
using ::testing::ThrowsMessage;

/// Convolutions of another batch size add in another order: a network's rounding, over 12 steps.
constexpr double kNetworkTolerance = 2e-4;

std::filesystem::path saved(const std::string& name, ModelFolder folder) {
  folder.extras.class_names.pop_back();
  folder.extras.null_class = 3;
  const auto path = std::filesystem::path(::testing::TempDir()) / name;
  write_model_folder(path, folder, /*overwrite=*/true);
  return path;
}

/// A folder with a model of 3 classes and a null class, in its place among temporary files.
std::filesystem::path saved_model() { return saved("engine_unet_model", small_model(4)); }

/// The same, self-conditioned.
std::filesystem::path saved_guessing_model() {
  return saved("engine_guessing_model", small_model(4, /*self_conditioning=*/true));
}

PipelineOptions on_cpu() { return {.device = "cpu"}; }

/// The images of a request, by their number in it.
struct Drawn {
  std::map<int64_t, Tensor> images;
  EngineEvents events() {
    return {.image = [this](const ImageResult& result) { images[result.image] = result.x; }};
  }
};

Tensor sampled_alone(const Pipeline& pipeline, const EngineRequest& request) {
  return sample_images(
      pipeline, request.sampler,
      {.seed = request.seed,
       .first_image = request.first_image,
       .num_images = request.num_images,
       .class_labels = at::full({request.num_images}, request.class_labels.front(), at::kLong),
       .guidance = request.guidance});
}

/// Ten requests of these samplers, of one to three images in six steps and more; each second one
/// is guided, some of them only at middle levels.
std::vector<EngineRequest> mixed_requests(const std::vector<SamplerKind>& kinds) {
  std::vector<EngineRequest> requests;
  for (size_t i = 0; i < 10; ++i) {
    EngineRequest request{.model = "unet",
                          .seed = i,
                          .num_images = 1 + static_cast<int64_t>(i % 3),
                          .sampler = {.kind = kinds[i % kinds.size()], .steps = 6 + int64_t(i % 7)},
                          .class_labels = {static_cast<int64_t>(i % 3)}};
    if (i % 2 == 1) request.guidance.scale = 2.5;
    if (i % 4 == 1) request.guidance.interval = {0.3, 3};
    requests.push_back(request);
  }
  return requests;
}

/// An engine draws for all of the requests at once what sample_images draws for each.
void expect_the_images_of_sample_images(const std::filesystem::path& path,
                                        const std::vector<EngineRequest>& requests) {
  const Pipeline pipeline = load_pipeline(path, on_cpu());
  std::vector<Drawn> drawn(requests.size());
  const auto model = std::make_shared<EngineModel>(engine_model("unet", path, on_cpu()));
  Engine engine({model}, {.max_batch = 8});
  for (size_t i = 0; i < requests.size(); ++i) engine.submit(requests[i], drawn[i].events());
  ASSERT_TRUE(engine.drain(EngineClock::now() + std::chrono::minutes(2)));
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    const Tensor expected = sampled_alone(pipeline, requests[i]);
    for (int64_t image = 0; image < requests[i].num_images; ++image) {
      EXPECT_TRUE(tensors_near(drawn[i].images.at(image), expected[image], kNetworkTolerance));
    }
  }
}

TEST(EngineUnetTest, MixedRequestsDrawWhatSampleImagesDraws) {
  expect_the_images_of_sample_images(
      saved_model(), mixed_requests({SamplerKind::kDdpm, SamplerKind::kDpmpp2m, SamplerKind::kUnipc,
                                     SamplerKind::kHeun, SamplerKind::kDpmpp2mSde}));
}

TEST(EngineUnetTest, MixedRequestsOfASelfConditionedModelDrawWhatSampleImagesDraws) {
  expect_the_images_of_sample_images(saved_guessing_model(),
                                     mixed_requests({SamplerKind::kDdpm, SamplerKind::kDdim,
                                                     SamplerKind::kDpmpp2m, SamplerKind::kUnipc}));
}

TEST(EngineUnetTest, AModelSaysItselfBeforeItsWeightsAreRead) {
  const EngineModel model = engine_model("unet", saved_model(), on_cpu());
  EXPECT_EQ(model.image_shape, (std::vector<int64_t>{1, 8, 8}));
  EXPECT_EQ(model.num_labels, 4);
  EXPECT_EQ(model.null_class, 3);
  EXPECT_EQ(model.schedule.num_timesteps(), 50);
  EXPECT_GT(model.size_bytes, 10'000);
}

TEST(EngineUnetTest, WhatDrawsNoImagesIsNoModel) {
  const std::filesystem::path path = saved_model();
  ModelFolder classifier = small_model();
  classifier.model.kind = ModelKind::kClassifier;
  EXPECT_THROW(engine_model("unet", classifier, path, on_cpu()), std::invalid_argument);
  EXPECT_THROW(engine_model("unet", path / "absent", on_cpu()), std::invalid_argument);
}

TEST(EngineUnetTest, AModelThatEnlargesIsLentWithAllThatItSeesAndDrawsForNoRequest) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "engine_enlarging";
  const ModelFolder folder = small_model(0, /*self_conditioning=*/true, /*super_resolution=*/2);
  write_model_folder(path, folder, /*overwrite=*/true);
  const auto model = std::make_shared<EngineModel>(engine_model("unet", path, on_cpu()));
  Engine engine({model}, {});
  EXPECT_THAT([&] { engine.submit({.model = "unet"}, {}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("enlarges images 2 times")));
  const Pipeline pipeline = load_pipeline(path, on_cpu());
  const Tensor small = at::rand({1, 1, 4, 4}) * 2 - 1;
  const auto drawn_by = [&](const DenoiseFn& denoise) {
    return sample(pipeline.schedule, PredictionType::kEpsilon, denoise,
                  {.kind = SamplerKind::kDdim, .steps = 5},
                  {.num_images = 2, .image_shape = {1, 8, 8}});
  };
  const NetworkView view{.schedule = pipeline.schedule,
                         .self_conditioning = model->self_conditioning,
                         .super_resolution = model->super_resolution,
                         .low_resolution = small};
  EXPECT_TRUE(tensors_near(drawn_by(network_denoise_fn(engine.lend_network(model), view)),
                           drawn_by(make_denoise_fn(pipeline, {}, small)), kNetworkTolerance));
}

}  // namespace
}  // namespace ddpm
