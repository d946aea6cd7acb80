#include "ddpm/serving/engine/engine_guesses.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/sampling/guidance.h"
#include "sampling/sampler_cases.h"
#include "serving/fake_model.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::every_kind;
using testing::fake_model;
using testing::fake_wide_answer;
using testing::FakeCalls;
using testing::FakeEngine;
using ::testing::HasSubstr;
using testing::tensors_near;
using ::testing::ThrowsMessage;
using testing::Told;

/// advance() and advance_each() round the same sums in different orders, and each guess goes into
/// the next answer: 20 steps multiply that.
constexpr double kGuessTolerance = 2e-4;

/// A request and what the engine told of it.
struct Added {
  EngineRequest request;
  std::shared_ptr<Told> told;
};

class EngineGuessesTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  /// What the sampling layer draws for an image of a request, which has a class unless `labels` is
  /// undefined, with classifier-free guidance.
  Tensor sampled(const EngineRequest& request, int64_t image = 0) const {
    const bool variance = model_->schedule.variance == VarianceType::kLearnedRange;
    const LabelledDenoiseFn answers = [=](const Tensor& x, const Tensor& t, const Tensor& labels) {
      return fake_wide_answer(x, t, labels, variance);
    };
    const NetworkView view{model_->schedule, model_->prediction, /*self_conditioning=*/true};
    const auto& labels = request.class_labels;
    DenoiseFn denoise = network_denoise_fn(
        answers, view, labels.empty() ? Tensor() : at::full({1}, labels.front(), at::kLong));
    if (request.guidance.scale != 1) {
      const Tensor both = at::tensor({labels.front(), model_->null_class}, at::kLong);
      denoise = network_denoise_fn(answers, view, both);
      denoise = classifier_free_guidance(model_->schedule, request.guidance, denoise, denoise);
    }
    const SampleRequest alone{.seed = request.seed,
                              .first_image = request.first_image + static_cast<uint64_t>(image),
                              .image_shape = model_->image_shape};
    return sample(model_->schedule, model_->prediction, denoise, request.sampler, alone).squeeze(0);
  }

  void expect_sampled(const Added& added) const {
    ASSERT_TRUE(added.told->has_ended_as(RequestOutcome::kDone));
    for (int64_t image = 0; image < added.request.num_images; ++image) {
      EXPECT_TRUE(
          tensors_near(added.told->pixels(image), sampled(added.request, image), kGuessTolerance))
          << "seed " << added.request.seed << ", image " << image;
    }
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  std::shared_ptr<EngineModel> model_ = fake_model(calls_, {.self_conditioning = true});
};

TEST_F(EngineGuessesTest, EverySamplersImagesAreThoseOfSampleAloneAndInAMixedBatch) {
  FakeEngine mixed;
  std::vector<Added> together;
  for (const SamplerOptions& sampler : every_kind()) {
    if (!make_sampler_plan(model_->schedule, model_->prediction, sampler).whole_timesteps) continue;
    EngineRequest request{.seed = 11 + together.size(), .first_image = 5, .sampler = sampler};
    request.sampler.clip = together.size() % 2 == 0 ? X0Clip::kClip : X0Clip::kNone;
    together.push_back({request, mixed.add(model_, request)});
  }
  EXPECT_GT(together.size(), 8U);
  mixed.run();
  for (const auto& [request, told] : together) {
    SCOPED_TRACE(testing::describe(request.sampler, model_->prediction));
    FakeEngine engine;
    const auto alone = engine.add(model_, request);
    engine.run();
    expect_sampled({request, alone});
    ASSERT_TRUE(told->has_ended_as(RequestOutcome::kDone));
    EXPECT_TRUE(at::equal(told->pixels(), alone->pixels())) << "bit for bit";
  }
}

// Slots are few: an image that joins has one that another's guesses lay in.
TEST_F(EngineGuessesTest, ImagesThatJoinMidwayBeginWithoutAGuess) {
  FakeEngine engine({.max_in_flight = 6});
  std::vector<Added> added;
  const SamplerKind kinds[] = {SamplerKind::kDdpm, SamplerKind::kDdim, SamplerKind::kDpmpp2m,
                               SamplerKind::kUnipc};
  for (uint64_t i = 0; i < 24; ++i) {
    const EngineRequest request{
        .seed = i,
        .num_images = 1 + static_cast<int64_t>(i % 3),
        .sampler = {.kind = kinds[i % 4], .steps = 4 + static_cast<int64_t>(i * 7 % 13)}};
    added.push_back({request, engine.add(model_, request)});
    for (uint64_t tick = 0; tick <= i % 4; ++tick) engine.tick();
  }
  engine.run();
  for (const Added& each : added) expect_sampled(each);
}

TEST_F(EngineGuessesTest, GuidedImagesHaveAGuessForTheirClassAndOneForNone) {
  model_ = fake_model(calls_, {.num_classes = 3, .self_conditioning = true});
  FakeEngine engine;
  const SamplerOptions sampler{.kind = SamplerKind::kDpmpp2m, .steps = 10, .clip = X0Clip::kNone};
  const std::vector<GuidanceOptions> ways{{.scale = 3, .rescale = 0, .interval = {}},
                                          {.scale = 1, .rescale = 0, .interval = {}},
                                          {.scale = 2, .rescale = 0.5, .interval = {}},
                                          {.scale = 4, .rescale = 0, .interval = {0.5, 5}}};
  std::vector<Added> added;
  for (const GuidanceOptions& guidance : ways) {
    const EngineRequest request{
        .seed = 8, .num_images = 2, .sampler = sampler, .class_labels = {1}, .guidance = guidance};
    added.push_back({request, engine.add(model_, request)});
    engine.tick();
  }
  engine.run();
  EXPECT_GT(std::set<int64_t>(calls_->batches.begin(), calls_->batches.end()).size(), 3U);
  for (const Added& each : added) expect_sampled(each);
}

TEST_F(EngineGuessesTest, AGuessIsOfThePredictionNotOfALearnedVariance) {
  model_ = fake_model(calls_, {.variance = VarianceType::kLearnedRange, .self_conditioning = true});
  FakeEngine engine;
  const EngineRequest request{
      .seed = 4, .num_images = 2, .sampler = {.kind = SamplerKind::kDdpm, .steps = 20}};
  const Added added{request, engine.add(model_, request)};
  engine.run();
  expect_sampled(added);
}

TEST_F(EngineGuessesTest, PaddingChangesNothing) {
  model_ = fake_model(calls_, {.num_classes = 3, .self_conditioning = true});
  EngineRequest request{.seed = 5,
                        .num_images = 3,
                        .sampler = {.kind = SamplerKind::kDdpm, .steps = 9},
                        .class_labels = {2}};
  request.guidance.scale = 2;
  FakeEngine padded({.batch_sizes = {8, 16}});
  const Added added{request, padded.add(model_, request)};
  padded.run();
  for (const int64_t rows : calls_->batches) EXPECT_EQ(rows, 8);
  expect_sampled(added);
}

TEST_F(EngineGuessesTest, ABatchThatIsTakenBackLeavesTheGuessesAsTheyWere) {
  FakeEngine engine;
  calls_->before = [](const Tensor& x, const Tensor&, const Tensor&) {
    if (x.size(0) > 5) TORCH_CHECK_WITH(OutOfMemoryError, false, "too large");
  };
  std::vector<Added> added;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const EngineRequest request{
        .seed = seed, .num_images = 3, .sampler = {.kind = SamplerKind::kDdim, .steps = 8}};
    added.push_back({request, engine.add(model_, request)});
    engine.tick();
  }
  engine.run();
  EXPECT_GT(engine.core.stats().out_of_memory, 0U);
  for (const Added& each : added) expect_sampled(each);
}

TEST_F(EngineGuessesTest, GuessesCountAsState) {
  EXPECT_EQ(guesses_an_image(*fake_model(calls_)), 0);
  EXPECT_EQ(guesses_an_image(*model_), 1);
  EXPECT_EQ(guesses_an_image(*fake_model(calls_, {.num_classes = 2, .self_conditioning = true})),
            2);
  EXPECT_EQ(max_slot_bytes({2, 4, 4}, 2) - max_slot_bytes({2, 4, 4}), 2 * 2 * 4 * 4 * 4);
  const auto bytes_of = [](const std::shared_ptr<EngineModel>& model) {
    FakeEngine engine;
    engine.add(model, {.sampler = {.kind = SamplerKind::kDdim, .steps = 2}});
    engine.tick();
    return engine.core.stats().state_bytes;
  };
  EXPECT_EQ(bytes_of(model_), 2 * bytes_of(fake_model(calls_)));
}

TEST_F(EngineGuessesTest, SamplersOfFractionalTimestepsAreRefused) {
  FakeEngine engine;
  EngineRequest request{.sampler = {.kind = SamplerKind::kDpmpp2m, .steps = 7}};
  request.sampler.levels = LevelSpacing::kKarras;
  EXPECT_THAT([&] { engine.add(model_, request); },
              ThrowsMessage<std::invalid_argument>(
                  HasSubstr("expected one of whole timesteps for a self-conditioned model, got "
                            "dpmpp_2m with levels karras")));
  EXPECT_TRUE(engine.add(fake_model(calls_), request)->ends.empty());
}

}  // namespace
}  // namespace ddpm
