#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "ddpm/sampling/guidance.h"
#include "sampling/sampler_cases.h"
#include "serving/fake_model.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::every_kind;
using testing::fake_answer;
using testing::fake_model;
using testing::FakeCalls;
using testing::FakeEngine;
using testing::FakeOptions;
using testing::sampled;
using testing::tensors_near;
using testing::Told;

std::vector<EngineRequest> one_request_a_sampler() {
  std::vector<EngineRequest> requests;
  for (SamplerOptions sampler : every_kind()) {
    sampler.clip = requests.size() % 3 == 0 ? X0Clip::kClip : X0Clip::kNone;
    requests.push_back({.seed = 11 + requests.size(), .first_image = 5, .sampler = sampler});
  }
  EngineRequest fractional{.seed = 3, .sampler = {.kind = SamplerKind::kDpmpp2m, .steps = 7}};
  fractional.sampler.levels = LevelSpacing::kKarras;
  requests.push_back(fractional);
  EngineRequest dynamic{.seed = 4, .sampler = {.kind = SamplerKind::kDdim, .steps = 12}};
  dynamic.sampler.clip = X0Clip::kDynamic;
  requests.push_back(dynamic);
  return requests;
}

class EngineImagesTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
};

TEST_F(EngineImagesTest, EverySamplersImagesAreThoseOfSampleAloneAndInAMixedBatch) {
  const auto model = fake_model(calls_);
  FakeEngine mixed;
  std::vector<std::shared_ptr<Told>> together;
  const std::vector<EngineRequest> requests = one_request_a_sampler();
  for (const EngineRequest& request : requests) together.push_back(mixed.add(model, request));
  mixed.run();
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(testing::describe(requests[i].sampler, model->prediction));
    FakeEngine engine;
    const auto alone = engine.add(model, requests[i]);
    engine.run();
    ASSERT_TRUE(alone->has_ended_as(RequestOutcome::kDone));
    ASSERT_TRUE(together[i]->has_ended_as(RequestOutcome::kDone));
    EXPECT_TRUE(at::equal(alone->pixels(), sampled(*model, requests[i]))) << "bit for bit";
    EXPECT_TRUE(at::equal(together[i]->pixels(), alone->pixels())) << "bit for bit";
  }
}

TEST_F(EngineImagesTest, FractionalAndWholeTimestepsShareABatchAsFloats) {
  const auto model = fake_model(calls_);
  FakeEngine engine;
  EngineRequest fractional{.sampler = {.kind = SamplerKind::kDpmpp2m, .steps = 2}};
  fractional.sampler.levels = LevelSpacing::kKarras;
  engine.add(model, fractional);
  engine.add(model, {.sampler = {.kind = SamplerKind::kDdim, .steps = 4}});
  engine.run();
  ASSERT_EQ(calls_->dtypes_of_t.size(), 4U);
  EXPECT_EQ(calls_->dtypes_of_t.front(), at::kFloat);
  EXPECT_EQ(calls_->dtypes_of_t.back(), at::kLong);
}

TEST_F(EngineImagesTest, ImagesThatJoinAndLeaveMidwayAreTheSame) {
  const auto model = fake_model(calls_);
  FakeEngine engine;
  std::vector<std::pair<EngineRequest, std::shared_ptr<Told>>> added;
  const SamplerKind kinds[] = {SamplerKind::kUnipc, SamplerKind::kDdpm, SamplerKind::kHeun,
                               SamplerKind::kPndm, SamplerKind::kDpmpp2mSde};
  for (uint64_t i = 0; i < 40; ++i) {
    const EngineRequest request{
        .seed = i,
        .num_images = 1 + static_cast<int64_t>(i % 3),
        .sampler = {.kind = kinds[i % 5], .steps = 5 + static_cast<int64_t>(i * 7 % 23)}};
    added.emplace_back(request, engine.add(model, request));
    for (uint64_t tick = 0; tick <= i % 4; ++tick) engine.tick();
  }
  engine.run();
  for (const auto& [request, told] : added) {
    ASSERT_TRUE(told->has_ended_as(RequestOutcome::kDone));
    for (int64_t image = 0; image < request.num_images; ++image) {
      EXPECT_TRUE(at::equal(told->pixels(image), sampled(*model, request, image)))
          << "seed " << request.seed << ", image " << image;
    }
  }
  EXPECT_EQ(engine.core.stats().in_flight_images, 0);
}

TEST_F(EngineImagesTest, LearnedVariancesAndClassesAreEachImagesOwn) {
  const auto model =
      fake_model(calls_, {.num_classes = 6, .variance = VarianceType::kLearnedRange});
  FakeEngine engine;
  std::vector<std::pair<EngineRequest, std::shared_ptr<Told>>> added;
  for (int64_t label = 0; label < 6; ++label) {
    const EngineRequest request{
        .seed = 2, .sampler = {.kind = SamplerKind::kDdpm, .steps = 20}, .class_labels = {label}};
    added.emplace_back(request, engine.add(model, request));
  }
  const auto each = engine.add(model, {.seed = 2,
                                       .num_images = 2,
                                       .sampler = {.kind = SamplerKind::kDdpm, .steps = 20},
                                       .class_labels = {4, 1}});
  engine.run();
  for (const auto& [request, told] : added) {
    EXPECT_TRUE(at::equal(told->pixels(), sampled(*model, request)));
  }
  EXPECT_TRUE(at::equal(each->pixels(0), added[4].second->pixels()));
  EXPECT_FALSE(at::equal(each->pixels(1), added[1].second->pixels())) << "another image number";
}

/// What the sampling layer draws with classifier-free guidance.
Tensor sampled_with_guidance(const EngineModel& model, const EngineRequest& request) {
  const auto network = [&](std::vector<int64_t> labels) -> DenoiseFn {
    return [labels](const Tensor& x, const Tensor& t) {
      return fake_answer(x, t, at::tensor(labels, at::kLong), false);
    };
  };
  const int64_t label = request.class_labels.front();
  const DenoiseFn denoise = classifier_free_guidance(
      model.schedule, request.guidance, network({label}), network({label, model.null_class}));
  return sample(model.schedule, model.prediction, denoise, request.sampler,
                {.seed = request.seed, .image_shape = model.image_shape})
      .squeeze(0);
}

TEST_F(EngineImagesTest, GuidedImagesTakeTwoRowsOnlyWhereTheyAreGuided) {
  const auto model = fake_model(calls_, {.num_classes = 3});
  FakeEngine engine;
  const SamplerOptions sampler{.kind = SamplerKind::kDpmpp2m, .steps = 10, .clip = X0Clip::kNone};
  const std::vector<GuidanceOptions> ways{{.scale = 3, .rescale = 0, .interval = {}},
                                          {.scale = 1, .rescale = 0, .interval = {}},
                                          {.scale = 2, .rescale = 0.5, .interval = {}},
                                          {.scale = 4, .rescale = 0, .interval = {0.5, 5}}};
  std::vector<std::pair<EngineRequest, std::shared_ptr<Told>>> added;
  for (const GuidanceOptions& guidance : ways) {
    const EngineRequest request{
        .seed = 8, .sampler = sampler, .class_labels = {1}, .guidance = guidance};
    added.emplace_back(request, engine.add(model, request));
  }
  engine.run();
  for (const auto& [request, told] : added) {
    SCOPED_TRACE(request.guidance.scale);
    EXPECT_TRUE(tensors_near(told->pixels(), sampled_with_guidance(*model, request), 1e-4));
  }
  EXPECT_EQ(calls_->batches.front(), 4 + 2) << "the interval does not hold the first level";
  EXPECT_EQ(*std::max_element(calls_->batches.begin(), calls_->batches.end()), 4 + 3);
}

TEST_F(EngineImagesTest, PaddingChangesNothing) {
  const auto model = fake_model(calls_, {.num_classes = 3});
  const EngineRequest request{.seed = 5,
                              .num_images = 5,
                              .sampler = {.kind = SamplerKind::kDpmpp2mSde, .steps = 9},
                              .class_labels = {2}};
  FakeEngine plain;
  const auto expected = plain.add(model, request);
  plain.run();
  FakeEngine padded({.batch_sizes = {8, 16}});
  calls_->batches.clear();
  const auto told = padded.add(model, request);
  padded.run();
  for (const int64_t rows : calls_->batches) EXPECT_EQ(rows, 8);
  for (int64_t i = 0; i < 5; ++i) EXPECT_TRUE(at::equal(told->pixels(i), expected->pixels(i)));
  EXPECT_EQ(padded.core.stats().padded_rows, 3 * 9U);
}

TEST_F(EngineImagesTest, PreviewsAndTracesShowTheImagesOwnWay) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.preview_every = 3, .preview_interval = std::chrono::milliseconds(0)});
  const EngineRequest request{.seed = 21,
                              .num_images = 2,
                              .sampler = {.kind = SamplerKind::kHeun, .steps = 10},
                              .wants_previews = true,
                              .trace_frames = 4};
  engine.add(model, {.seed = 1, .num_images = 3, .sampler = {.kind = SamplerKind::kDdim}});
  engine.tick();
  const auto told = engine.add(model, request);
  engine.run();
  std::vector<SampleTrace> steps;
  sample(
      model->schedule, model->prediction,
      [](const Tensor& x, const Tensor& t) { return fake_answer(x, t, {}, false); },
      request.sampler, {.seed = 21, .image_shape = model->image_shape},
      [&](const SampleTrace& trace) { steps.push_back(trace); });
  ASSERT_EQ(told->traces.size(), 4U);
  for (size_t frame = 0; frame < 4; ++frame) {
    const ImageTrace& trace = told->traces[frame];
    const SampleTrace& expected = steps.at(frame * 3);
    EXPECT_EQ(trace.step, expected.step);
    EXPECT_EQ(trace.t, expected.t);
    EXPECT_TRUE(at::equal(trace.x_t, expected.x_t[0]));
    EXPECT_TRUE(at::equal(trace.eps, expected.eps()[0]));
    EXPECT_TRUE(at::equal(trace.pred_x_start, expected.pred_x_start[0]));
  }
  std::vector<int64_t> previewed;
  int64_t steps_told = 0;
  for (const ImageProgress& event : told->progress) {
    if (event.image != 0) continue;
    EXPECT_EQ(event.step, ++steps_told);
    EXPECT_EQ(event.num_steps, 10);
    if (event.pred_x_start.defined()) previewed.push_back(event.step);
  }
  EXPECT_EQ(steps_told, 10);
  EXPECT_EQ(previewed, (std::vector<int64_t>{3, 6, 9}));
}

}  // namespace
}  // namespace ddpm
