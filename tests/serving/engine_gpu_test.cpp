#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "ddpm/serving/engine/engine.h"
#include "serving/fake_model.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::fake_model;
using testing::FakeCalls;
using testing::sampled;
using testing::telling;
using testing::tensors_near;
using testing::Told;

/// A GPU's cos and tanh differ from a CPU's in the last bits; samplers magnify them.
constexpr double kGpuTolerance = 1e-3;

EngineOptions gpu_options() {
  return {.max_batch = 16,
          .batch_sizes = default_batch_sizes(/*is_gpu=*/true),
          .max_in_flight = 24,
          .preview_every = 2,
          .preview_interval = std::chrono::milliseconds(0)};
}

class EngineGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  }

  std::shared_ptr<EngineModel> model_on(at::Device device, int64_t num_classes) const {
    auto model = fake_model(calls_, {.num_classes = num_classes});
    model->device = device;
    return model;
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  const at::Device gpu_ = at::Device(at::kCUDA, 0);
};

EngineRequest mixed_request(size_t i, int64_t num_classes) {
  constexpr SamplerKind kKinds[] = {SamplerKind::kDdim, SamplerKind::kDdpm, SamplerKind::kDpmpp2m,
                                    SamplerKind::kHeun, SamplerKind::kUnipc};
  EngineRequest request{.model = "fake",
                        .seed = i,
                        .num_images = 1 + static_cast<int64_t>(i % 4),
                        .sampler = {.kind = kKinds[i % 5], .steps = 5 + static_cast<int64_t>(i)},
                        .wants_previews = i % 3 == 0};
  if (num_classes > 0) request.class_labels = {static_cast<int64_t>(i) % num_classes};
  return request;
}

TEST_F(EngineGpuTest, RequestsThatComeAndGoDrawWhatTheSamplerDraws) {
  for (const int64_t num_classes : {0, 3}) {
    const auto expected = model_on(at::kCPU, num_classes);
    Engine engine({model_on(gpu_, num_classes)}, gpu_options());
    std::vector<EngineRequest> requests;
    std::vector<std::shared_ptr<Told>> told;
    for (size_t i = 0; i < 40; ++i) {
      requests.push_back(mixed_request(i, num_classes));
      told.push_back(std::make_shared<Told>());
      engine.submit(requests.back(), telling(told.back()));
      if (i % 4 == 3) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    ASSERT_TRUE(engine.drain(EngineClock::now() + std::chrono::minutes(2)));
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(i);
      ASSERT_TRUE(told[i]->has_ended_as(RequestOutcome::kDone));
      for (int64_t image = 0; image < requests[i].num_images; ++image) {
        EXPECT_TRUE(tensors_near(told[i]->pixels(image), sampled(*expected, requests[i], image),
                                 kGpuTolerance));
      }
      for (const ImageProgress& progress : told[i]->progress) {
        if (progress.pred_x_start.defined()) {
          EXPECT_TRUE(progress.pred_x_start.isfinite().all().item<bool>());
        }
      }
    }
  }
}

TEST_F(EngineGpuTest, AnImageThatIsNotFiniteEndsAlone) {
  for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    calls_->batches.clear();
    calls_->before = [&](const Tensor& x, const Tensor&, const Tensor&) {
      if (calls_->batches.size() == 4) x[1].fill_(bad);
    };
    Engine engine({model_on(gpu_, 0)}, gpu_options());
    EngineRequest request{
        .model = "fake", .num_images = 3, .sampler = {.kind = SamplerKind::kDdim, .steps = 20}};
    request.sampler.clip = X0Clip::kNone;
    const auto told = std::make_shared<Told>();
    engine.submit(request, telling(told));
    ASSERT_TRUE(engine.drain(EngineClock::now() + std::chrono::minutes(1)));
    EXPECT_TRUE(told->has_ended_as(RequestOutcome::kNonFinite));
    EXPECT_EQ(engine.stats().images_non_finite, 1U);
    EXPECT_EQ(engine.stats().images_done, 2U);
  }
}

TEST_F(EngineGpuTest, MarksAreReachedInOrderAndKnowTheTimeBetween) {
  EventMarks marks;
  const auto first = marks(gpu_);
  Tensor x = at::ones({512, 512}, at::TensorOptions(gpu_));
  for (int i = 0; i < 50; ++i) x = x.mm(x) / 512;
  const auto second = marks(gpu_);
  second->wait();
  EXPECT_TRUE(first->is_reached());
  EXPECT_TRUE(second->is_reached());
  EXPECT_FALSE(first->seconds());
  ASSERT_TRUE(second->seconds());
  EXPECT_GT(*second->seconds(), 0);
  EXPECT_EQ(marks(at::kCPU), nullptr);
}

}  // namespace
}  // namespace ddpm
