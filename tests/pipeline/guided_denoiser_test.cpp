#include "ddpm/pipeline/guided_denoiser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "ddpm/diffusion/prediction.h"
#include "ddpm/model/network.h"
#include "pipeline/small_model.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::small_model;
using testing::tensors_near;
using ::testing::ThrowsMessage;
using Error = std::invalid_argument;

/// A model in memory: two classes and, if asked, a null class as a third row of the table.
Pipeline model_in_memory(int64_t num_classes, bool null_class, uint64_t seed = 5) {
  Pipeline pipeline;
  pipeline.folder = small_model(num_classes + (null_class ? 1 : 0));
  if (null_class) pipeline.folder.extras.null_class = num_classes;
  pipeline.network = make_network(pipeline.folder.model);
  initialize(*pipeline.network, seed);
  pipeline.network->eval();
  pipeline.schedule = make_noise_schedule(pipeline.folder.diffusion);
  return pipeline;
}

const Tensor& some_noise() {
  static const Tensor x = at::randn({2, 1, 8, 8});
  return x;
}

Tensor answer(const Denoiser& model) {
  return model.denoise(some_noise(), at::tensor({10, 40}, at::kLong)).detach();
}

Tensor answer(const Pipeline& pipeline, const Tensor& labels) {
  return answer(make_denoiser(pipeline, {.class_labels = labels}));
}

Tensor labels_of(int64_t first, int64_t second) { return at::tensor({first, second}, at::kLong); }

TEST(GuidedDenoiserTest, ClassifierFreeGuidanceLeadsAwayFromTheNullClass) {
  const Pipeline pipeline = model_in_memory(/*num_classes=*/2, /*null_class=*/true);
  const Tensor strong = answer(pipeline, labels_of(0, 1));
  const Tensor weak = answer(pipeline, labels_of(2, 2));
  const Tensor guided = answer(make_denoiser(
      pipeline, {.class_labels = labels_of(0, 1), .guidance = {.scale = 3, .interval = {}}}));
  EXPECT_GT((strong - weak).abs().max().item<double>(), 1e-3);
  EXPECT_TRUE(tensors_near(guided, weak + (strong - weak) * 3, 1e-4));
}

TEST(GuidedDenoiserTest, ASelfConditionedModelKeepsItsGuessWhereAnIntervalBegins) {
  const c10::NoGradGuard no_grad;
  Pipeline pipeline = model_in_memory(/*num_classes=*/2, /*null_class=*/true);
  pipeline.folder.model.unet2d.in_channels = 2;
  pipeline.folder.extras.self_conditioning = true;
  pipeline.network = make_network(pipeline.folder.model);
  initialize(*pipeline.network, /*seed=*/5);
  pipeline.network->eval();
  const Tensor labels = labels_of(0, 1);
  const double alpha_bar = pipeline.schedule.alphas_cumprod[25].item<double>();
  GuidanceOptions from_25{.scale = 3, .interval = {0, std::sqrt((1 - alpha_bar) / alpha_bar)}};
  const Denoiser model = make_denoiser(pipeline, {.class_labels = labels, .guidance = from_25});
  const Tensor& x = some_noise();
  const Tensor before = at::full({2}, 40, at::kLong);
  const Tensor within = at::full({2}, 10, at::kLong);
  const Tensor guess = self_condition(pipeline.schedule, PredictionType::kEpsilon, x, before,
                                      model.denoise(x, before));
  const Tensor strong =
      pipeline.network->forward(at::cat({x, guess}, 1), within, {.class_labels = labels});
  const Tensor weak = pipeline.network->forward(at::cat({x, at::zeros_like(x)}, 1), within,
                                                {.class_labels = labels_of(2, 2)});
  EXPECT_TRUE(tensors_near(model.denoise(x, within), weak + (strong - weak) * 3, 1e-4));
}

TEST(GuidedDenoiserTest, AGuideStandsForTheWeakAnswerWithAndWithoutClasses) {
  const Pipeline pipeline = model_in_memory(2, /*null_class=*/false);
  const Tensor labels = labels_of(1, 0);
  const Tensor strong = answer(pipeline, labels);
  for (const int64_t classes : {0, 2}) {
    const Pipeline guide = model_in_memory(classes, /*null_class=*/false, /*seed=*/6);
    const Tensor weak = answer(guide, classes > 0 ? labels : Tensor());
    const Tensor guided = answer(make_denoiser(
        pipeline,
        {.class_labels = labels, .guidance = {.scale = 1.5, .interval = {}}, .guide = &guide}));
    EXPECT_TRUE(tensors_near(guided, weak + (strong - weak) * 1.5, 1e-4));
  }
}

TEST(GuidedDenoiserTest, NullClassCountsAsNoneOfTheClasses) {
  EXPECT_EQ(count_classes(model_in_memory(2, /*null_class=*/true).folder), 2);
  EXPECT_EQ(count_classes(model_in_memory(3, /*null_class=*/false).folder), 3);
  EXPECT_EQ(count_classes(model_in_memory(0, /*null_class=*/false).folder), 0);
}

TEST(GuidedDenoiserTest, GuidanceThatAModelCannotGiveIsRefused) {
  const Pipeline plain = model_in_memory(0, false);
  const Pipeline classes = model_in_memory(2, false);
  const Pipeline dropout = model_in_memory(2, true);
  const GuidanceOptions three{.scale = 3, .interval = {}};
  const auto build = [](const Pipeline& pipeline, const Conditioning& conditioning) {
    return [&, conditioning] { make_denoiser(pipeline, conditioning); };
  };
  const Tensor labels = labels_of(0, 1);
  EXPECT_THAT(build(plain, {.guidance = three}),
              ThrowsMessage<Error>(HasSubstr("train.class_dropout")));
  EXPECT_THAT(build(classes, {.class_labels = labels, .guidance = three}),
              ThrowsMessage<Error>(HasSubstr("train.class_dropout")));
  EXPECT_THAT(
      build(dropout, {.guidance = three}),
      ThrowsMessage<Error>(HasSubstr("one of its 2 classes, which this model needs, got none")));
  EXPECT_THAT(build(plain, {.class_labels = labels}),
              ThrowsMessage<Error>(HasSubstr("without classes, got one")));
  EXPECT_THAT(build(classes, {.class_labels = labels + 1}),
              ThrowsMessage<Error>(HasSubstr("expected 0 to 1, got 2")));
}

TEST(GuidedDenoiserTest, GuidesThatDoNotFitAreRefused) {
  const Pipeline pipeline = model_in_memory(2, false);
  const auto with = [&](const Pipeline& guide, double scale = 2) {
    return [&pipeline, &guide, scale] {
      make_denoiser(pipeline, {.class_labels = labels_of(0, 1),
                               .guidance = {.scale = scale, .interval = {}},
                               .guide = &guide});
    };
  };
  Pipeline guide = model_in_memory(2, false);
  EXPECT_THAT(with(guide, 1), ThrowsMessage<Error>(HasSubstr("other than 1")));
  guide.folder.diffusion.prediction = PredictionType::kVelocity;
  EXPECT_THAT(with(guide), ThrowsMessage<Error>(HasSubstr("prediction")));
  guide = model_in_memory(2, false);
  guide.folder.model.unet2d.sample_size = 16;
  EXPECT_THAT(with(guide), ThrowsMessage<Error>(HasSubstr("model of images")));
  guide = model_in_memory(3, false);
  EXPECT_THAT(with(guide), ThrowsMessage<Error>(HasSubstr("2 classes or none, got 3")));
  guide = model_in_memory(2, false);
  guide.folder.diffusion.schedule = ScheduleKind::kLinear;
  guide.schedule = make_noise_schedule(guide.folder.diffusion);
  EXPECT_THAT(with(guide), ThrowsMessage<Error>(HasSubstr("noise schedule")));
}

TEST(GuidedDenoiserTest, GuidedSamplesDoNotDependOnTheirBatch) {
  const Pipeline pipeline = model_in_memory(2, true);
  ImageRequest request{.seed = 1, .num_images = 5, .class_labels = at::arange(5) % 2};
  request.guidance.scale = 2;
  const SamplerOptions options{.steps = 5};
  const Tensor whole = sample_images(pipeline, options, request);
  request.batch_size = 2;
  // Convolutions may sum in another order at another batch size.
  EXPECT_TRUE(tensors_near(sample_images(pipeline, options, request), whole, 1e-4));
}

TEST(GuidedDenoiserTest, LabelsMayDifferFromCallToCall) {
  Pipeline pipeline = model_in_memory(/*num_classes=*/4, /*null_class=*/false);
  const LabelledDenoiseFn denoise = make_labelled_denoise_fn(pipeline);
  const Tensor x = at::ones({2, 1, 8, 8});
  const Tensor t = at::tensor({3, 40}, at::kLong);
  for (const int64_t label : {0, 3}) {
    const Tensor labels = at::tensor({label, int64_t{1}}, at::kLong);
    EXPECT_TRUE(at::equal(denoise(x, t, labels), make_denoise_fn(pipeline, labels)(x, t))) << label;
  }
  pipeline.folder.extras.super_resolution = 2;
  EXPECT_THROW(make_labelled_denoise_fn(pipeline), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
