#include "ddpm/pipeline/network_denoise_fn.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "ddpm/diffusion/betas.h"
#include "ddpm/model/low_resolution.h"
#include "ddpm/pipeline/pipeline.h"
#include "pipeline/small_model.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::small_model;
using testing::tensors_near;
using ::testing::ThrowsMessage;

/// Answers its first channel plus one, and keeps its second.
class GuessingNetwork : public NetworkImpl {
 public:
  Tensor forward(const Tensor& x, const Tensor& /*t*/, const NetworkLabels& /*labels*/) override {
    guesses.push_back(x.narrow(1, 1, 1));
    return x.narrow(1, 0, 1) + 1;
  }
  std::vector<Tensor> guesses;
};

TEST(NetworkDenoiseFnTest, ASelfConditionedNetworkSeesItsLastGuess) {
  const auto network = std::make_shared<GuessingNetwork>();
  const NetworkView view{make_schedule(make_linear_betas(10, 0.01, 0.2)), PredictionType::kSample,
                         /*self_conditioning=*/true};
  const DenoiseFn denoise = network_denoise_fn(network, view, at::kFloat);
  const Tensor t = at::tensor({4}, at::kLong);
  const Tensor first = denoise(at::full({1, 1, 2, 2}, -0.75), t);
  EXPECT_TRUE(tensors_near(first, at::full({1, 1, 2, 2}, 0.25), 0));
  denoise(at::full({1, 1, 2, 2}, 3.0), t);
  denoise(at::full({1, 1, 2, 2}, 0.0), t);
  EXPECT_TRUE(tensors_near(network->guesses[0], at::zeros({1, 1, 2, 2}), 0));
  EXPECT_TRUE(tensors_near(network->guesses[1], at::full({1, 1, 2, 2}, 0.25), 0));
  EXPECT_TRUE(tensors_near(network->guesses[2], at::ones({1, 1, 2, 2}), 0));  // 4, clipped
  EXPECT_THAT(
      [&] {
        denoise(at::zeros({1, 1, 2, 2}), at::tensor({1.5f}));
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("expected Long, got Float")));
}

// As guidance asks outside of its interval: of a batch that holds each image twice, once.
TEST(NetworkDenoiseFnTest, ACallOfTheFirstImagesAloneLeavesTheOthersTheirGuesses) {
  const auto network = std::make_shared<GuessingNetwork>();
  const NetworkView view{make_schedule(make_linear_betas(10, 0.01, 0.2)), PredictionType::kSample,
                         /*self_conditioning=*/true};
  const DenoiseFn denoise = network_denoise_fn(network, view, at::kFloat);
  const DenoiseFn copy = denoise;
  const auto call = [](const DenoiseFn& fn, const std::vector<float>& values) {
    const auto rows = static_cast<int64_t>(values.size());
    fn(at::tensor(values).view({rows, 1, 1, 1}), at::full({rows}, 4, at::kLong));
  };
  call(denoise, {-0.75F});
  call(copy, {-0.5F, -0.25F});
  call(denoise, {-1.0F});
  call(copy, {0.0F, 0.0F});
  EXPECT_TRUE(at::equal(network->guesses[1].flatten(), at::tensor({0.25F, 0.0F})));
  EXPECT_TRUE(at::equal(network->guesses[2].flatten(), at::tensor({0.5F})));
  EXPECT_TRUE(at::equal(network->guesses[3].flatten(), at::tensor({0.0F, 0.75F})));
}

TEST(NetworkDenoiseFnTest, ALabelledFunctionRemembersNothing) {
  const auto network = std::make_shared<GuessingNetwork>();
  const NetworkView view{make_schedule(make_linear_betas(10, 0.01, 0.2)), PredictionType::kSample,
                         /*self_conditioning=*/true};
  const LabelledDenoiseFn denoise = labelled_denoise_fn(network, view, at::kFloat);
  const Tensor t = at::tensor({4}, at::kLong);
  for (int i = 0; i < 2; ++i) denoise(at::full({1, 1, 2, 2}, -0.75), t, {});
  EXPECT_EQ(network->guesses[1].abs().max().item<float>(), 0);
}

/// v of data of unit variance, as a function of x_t and the noise level; or EDM's F for the same.
class UnitGaussianNetwork : public NetworkImpl {
 public:
  explicit UnitGaussianNetwork(double sign) : sign_(sign) {}
  Tensor forward(const Tensor& x, const Tensor& /*t*/, const NetworkLabels& /*labels*/) override {
    return sign_ * (0.1 * x.sin() + 0.2);
  }

 private:
  double sign_;
};

// For data of unit variance F is -v and the input's scale is 1: the same samples by any sampler.
TEST(NetworkDenoiseFnTest, EdmOfUnitVarianceDrawsTheSamplesOfV) {
  NoiseSchedule schedule = make_schedule(make_linear_betas(100, 1e-3, 0.1));
  schedule.sigma_data = 1;
  const SampleRequest request{.seed = 4, .num_images = 2, .image_shape = {1, 4, 4}};
  for (const SamplerOptions& options :
       {SamplerOptions{.kind = SamplerKind::kDdpm},
        SamplerOptions{
            .kind = SamplerKind::kDpmpp2m, .steps = 8, .levels = LevelSpacing::kKarras}}) {
    const auto draw = [&](PredictionType prediction, double sign) {
      const DenoiseFn denoise = network_denoise_fn(std::make_shared<UnitGaussianNetwork>(sign),
                                                   {schedule, prediction}, at::kFloat);
      return sample(schedule, prediction, denoise, options, request);
    };
    EXPECT_TRUE(
        tensors_near(draw(PredictionType::kEdm, -1), draw(PredictionType::kVelocity, 1), 2e-5));
  }
}

TEST(NetworkDenoiseFnTest, AModelFolderSaysWhatTheNetworkSees) {
  ModelFolder folder = small_model(/*num_classes=*/4);
  folder.diffusion.prediction = PredictionType::kEdm;
  folder.diffusion.sigma_data = 0.7;
  folder.diffusion.variance = VarianceType::kLearnedRange;
  folder.extras.null_class = 3;
  folder.extras.self_conditioning = true;
  folder.extras.super_resolution = 4;
  const std::string path = ::testing::TempDir() + "/edm_model";
  write_model_folder(path, folder, /*overwrite=*/true);
  const ModelFolder read = read_model_folder(path);
  EXPECT_EQ(read.diffusion.prediction, PredictionType::kEdm);
  EXPECT_EQ(read.diffusion.variance, VarianceType::kLearnedRange);
  EXPECT_EQ(read.diffusion.sigma_data, 0.7);
  EXPECT_EQ(read.extras.null_class, 3);
  EXPECT_TRUE(read.extras.self_conditioning);
  EXPECT_EQ(read.extras.super_resolution, 4);
}

// Each batch begins without a guess, so an image does not depend on the batch it is drawn in.
TEST(NetworkDenoiseFnTest, ASelfConditionedModelDrawsTheSameImagesInEveryBatch) {
  ModelFolder folder = small_model();
  folder.model.unet2d.in_channels = 2;
  folder.extras.self_conditioning = true;
  Pipeline pipeline;
  pipeline.network = make_network(folder.model);
  initialize(*pipeline.network, /*seed=*/5);
  pipeline.network->eval();
  pipeline.schedule = make_noise_schedule(folder.diffusion);
  pipeline.folder = folder;
  EXPECT_EQ(pipeline.image_shape(), (std::vector<int64_t>{1, 8, 8}));
  SamplerOptions options;
  options.kind = SamplerKind::kDdim;
  options.steps = 4;
  const auto draw = [&](int64_t batch_size) {
    return sample_images(pipeline, options, {.num_images = 3, .batch_size = batch_size});
  };
  EXPECT_TRUE(tensors_near(draw(1), draw(3), 1e-4));
}

/// A model that enlarges grey images of 4x4 pixels to 8x8, in memory.
Pipeline superres_pipeline(int64_t num_classes = 0) {
  ModelFolder folder = small_model(num_classes);
  folder.model.unet2d.in_channels = 2;
  folder.extras.super_resolution = 2;
  Pipeline pipeline;
  pipeline.network = make_network(folder.model);
  initialize(*pipeline.network, /*seed=*/5);
  pipeline.network->eval();
  pipeline.schedule = make_noise_schedule(folder.diffusion);
  pipeline.folder = folder;
  return pipeline;
}

TEST(NetworkDenoiseFnTest, ASuperResolutionModelSeesTheImagesToEnlarge) {
  const Pipeline pipeline = superres_pipeline();
  EXPECT_EQ(pipeline.image_shape(), (std::vector<int64_t>{1, 8, 8}));
  at::manual_seed(1);
  const Tensor small = at::rand({3, 1, 4, 4}) * 2 - 1;
  const Tensor x = at::randn({3, 1, 8, 8});
  const Tensor t = at::tensor({3, 20, 40}, at::kLong);
  const Tensor seen = at::cat({x, enlarge_images(small, 2)}, 1);
  const Tensor expected = pipeline.network->forward(seen, t, {});
  EXPECT_TRUE(tensors_near(make_denoise_fn(pipeline, {}, small)(x, t), expected, 1e-6));
  // A guided batch holds each image twice.
  const DenoiseFn denoise = make_denoise_fn(pipeline, {}, small);
  EXPECT_TRUE(
      tensors_near(denoise(at::cat({x, x}), at::cat({t, t})), at::cat({expected, expected}), 1e-5));
  EXPECT_THAT([&] { denoise(x.narrow(0, 0, 2), t.narrow(0, 0, 2)); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("a multiple of 3 images, got 2")));
}

/// Answers the mean of its channels.
class MeanNetwork : public NetworkImpl {
 public:
  Tensor forward(const Tensor& x, const Tensor& /*t*/, const NetworkLabels& /*labels*/) override {
    return x.mean(1, /*keepdim=*/true);
  }
};

TEST(NetworkDenoiseFnTest, EdmScalesWhatIsNoisyAlone) {
  NoiseSchedule schedule = make_schedule(make_linear_betas(100, 1e-3, 0.1));
  schedule.sigma_data = 0.5;
  const NetworkView view{.schedule = schedule,
                         .prediction = PredictionType::kEdm,
                         .super_resolution = 2,
                         .low_resolution = at::full({1, 1, 2, 2}, 0.5)};
  const auto denoise = network_denoise_fn(std::make_shared<MeanNetwork>(), view, at::kFloat);
  const Tensor answer = denoise(at::full({1, 1, 4, 4}, 2.0), at::tensor({30}, at::kLong));
  const double scaled = 2 / std::sqrt(1 - 0.75 * schedule.alphas_cumprod[30].item<double>());
  EXPECT_TRUE(tensors_near(answer, at::full({1, 1, 4, 4}, (scaled + 0.5) / 2), 1e-6));
}

TEST(NetworkDenoiseFnTest, ImagesToEnlargeAreNeitherMissingNorOfAnotherSize) {
  const Pipeline pipeline = superres_pipeline();
  EXPECT_THAT([&] { sample_images(pipeline, {.steps = 2}, {.num_images = 1}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("ddpm edit superres")));
  EXPECT_THAT(
      [&] {
        make_denoise_fn(pipeline, {}, at::zeros({1, 1, 8, 8}));
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("expected images [1, 4, 4]")));
  Pipeline plain = pipeline;
  plain.folder.extras.super_resolution = 0;
  EXPECT_THAT(
      [&] {
        make_denoise_fn(plain, {}, at::zeros({1, 1, 4, 4}));
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("not trained to enlarge")));
}

TEST(NetworkDenoiseFnTest, EachImageIsEnlargedFromItsOwnInAnyBatchAndGuided) {
  const Pipeline pipeline = superres_pipeline(/*num_classes=*/3);
  Pipeline guided = pipeline;
  guided.folder.extras.null_class = 2;
  at::manual_seed(1);
  const Tensor small = at::rand({3, 1, 4, 4}) * 2 - 1;
  const auto draw = [&](int64_t batch_size, const Tensor& low) {
    return sample_images(guided, {.steps = 3},
                         {.num_images = 3,
                          .batch_size = batch_size,
                          .class_labels = at::tensor({0, 1, 1}, at::kLong),
                          .low_resolution = low,
                          .guidance = {.scale = 2, .interval = {}}});
  };
  const Tensor drawn = draw(3, small);
  EXPECT_TRUE(tensors_near(draw(1, small), drawn, 1e-3));  // guidance doubles rounding
  const Tensor all_first = draw(2, small.narrow(0, 0, 1));
  EXPECT_TRUE(tensors_near(all_first[0], drawn[0], 1e-3));
  EXPECT_FALSE(tensors_near(all_first[1], drawn[1], 1e-2));
  EXPECT_THAT([&] { draw(3, small.narrow(0, 0, 2)); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("one for each of 3 images")));
}

}  // namespace
}  // namespace ddpm
