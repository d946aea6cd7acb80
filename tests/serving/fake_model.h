#pragma once

#include <ATen/ATen.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ddpm/diffusion/betas.h"
#include "ddpm/sampling/sampler.h"
#include "ddpm/serving/engine/engine_admission.h"
#include "ddpm/serving/engine/engine_core.h"

namespace ddpm::testing {

/// A network with a closed form: of each pixel, its image's t and label alone. Answers with twice
/// the channels where it has a learned variance.
inline Tensor fake_answer(const Tensor& x, const Tensor& t, const Tensor& labels, bool variance) {
  const Tensor times = t.to(at::kFloat).view({-1, 1, 1, 1});
  Tensor eps = x * 0.3 + (times * 0.15).cos() * 0.2;
  if (labels.defined()) eps = eps + labels.to(at::kFloat).view({-1, 1, 1, 1}) * 0.07;
  return variance ? at::cat({eps, (x * 0.5).tanh()}, /*dim=*/1) : eps;
}

/// The same of a network whose x holds more behind x_t: its last guess, or an enlarged image.
inline Tensor fake_wide_answer(const Tensor& x, const Tensor& t, const Tensor& labels,
                               bool variance) {
  const auto parts = x.chunk(2, /*dim=*/1);
  const Tensor eps = parts[0] * 0.1 - (parts[1] * 2).sin() * 0.3;
  const Tensor answer = fake_answer(parts[0], t, labels, variance);
  return variance ? answer + at::cat({eps, at::zeros_like(eps)}, /*dim=*/1) : answer + eps;
}

/// What fake networks were called with.
struct FakeCalls {
  std::atomic<int64_t> loads = 0;
  std::vector<int64_t> batches = {};  ///< Rows of each call; of the engine's thread.
  std::vector<at::ScalarType> dtypes_of_t = {};
  std::function<void(const Tensor& x, const Tensor& t, const Tensor& labels)> before = {};
};

struct FakeOptions {
  std::string id = "fake";
  int64_t num_classes = 0;  ///< With a null class beside them.
  VarianceType variance = VarianceType::kFixedSmall;
  int64_t size_bytes = 100;
  bool self_conditioning = false;
  int64_t super_resolution = 0;
};

inline NoiseSchedule fake_schedule(VarianceType variance = VarianceType::kFixedSmall) {
  NoiseSchedule schedule = make_schedule(make_linear_betas(1000, 1e-4, 0.02));
  schedule.variance = variance;
  return schedule;
}

/// A model of 2x4x4 images with T = 1000.
inline std::shared_ptr<EngineModel> fake_model(const std::shared_ptr<FakeCalls>& calls,
                                               const FakeOptions& options = {}) {
  auto model = std::make_shared<EngineModel>();
  const bool has_variance = options.variance == VarianceType::kLearnedRange;
  model->id = options.id;
  model->schedule = fake_schedule(options.variance);
  model->image_shape = {2, 4, 4};
  model->num_labels = options.num_classes > 0 ? options.num_classes + 1 : 0;
  model->null_class = options.num_classes > 0 ? options.num_classes : -1;
  model->self_conditioning = options.self_conditioning;
  model->super_resolution = options.super_resolution;
  model->size_bytes = options.size_bytes;
  const bool is_wide = options.self_conditioning || options.super_resolution > 0;
  const auto answer = is_wide ? fake_wide_answer : fake_answer;
  model->load = [calls, answer, has_variance] {
    ++calls->loads;
    return [calls, answer, has_variance](const Tensor& x, const Tensor& t, const Tensor& labels) {
      calls->batches.push_back(x.size(0));
      calls->dtypes_of_t.push_back(t.scalar_type());
      if (calls->before) calls->before(x, t, labels);
      return answer(x, t, labels, has_variance);
    };
  };
  return model;
}

/// What a request was told.
struct Told {
  int starts = 0;
  std::vector<ImageProgress> progress = {};
  std::vector<ImageTrace> traces = {};
  std::map<int64_t, ImageResult> images = {};
  std::vector<RequestEnd> ends = {};

  bool has_ended_as(RequestOutcome outcome) const {
    return ends.size() == 1 && ends.front().outcome == outcome;
  }
  Tensor pixels(int64_t image = 0) const { return images.at(image).x; }
};

inline EngineEvents telling(const std::shared_ptr<Told>& told) {
  return {.start = [told](EngineTicket) { ++told->starts; },
          .progress = [told](const ImageProgress& event) { told->progress.push_back(event); },
          .trace = [told](const ImageTrace& event) { told->traces.push_back(event); },
          .image = [told](const ImageResult& event) { told->images[event.image] = event; },
          .end = [told](const RequestEnd& event) { told->ends.push_back(event); }};
}

/// A core whose models are read at once, and whose clock advances 10 ms a tick.
struct FakeEngine {
  explicit FakeEngine(EngineOptions engine_options = {}, PaceClock clock = {})
      : options(std::move(engine_options)),
        pool(options.max_model_bytes, [](const std::function<void()>& task) { task(); }),
        core(options, pool, std::move(clock)) {}

  std::shared_ptr<Told> add(const std::shared_ptr<const EngineModel>& model,
                            EngineRequest request) {
    auto told = std::make_shared<Told>();
    auto open = open_request(std::move(request), telling(told), model, options, plans);
    open->ticket = ++last_ticket;
    open->arrival = now;
    open->rank = now - open->request.priority * std::chrono::seconds(30);
    core.accept(std::move(open));
    return told;
  }
  bool tick() {
    now += std::chrono::milliseconds(10);
    return core.tick(now);
  }
  int64_t run() {
    int64_t ticks = 0;
    while (!core.is_idle() && ticks < 100'000) {
      tick();
      ++ticks;
    }
    return ticks;
  }

  EngineOptions options;
  EnginePlans plans;
  ModelPool pool;
  EngineCore core;
  EngineTicket last_ticket = 0;
  EngineClock::time_point now = EngineClock::now();
};

/// What sample() draws for a request's image `image`, of a fake model without guidance.
inline Tensor sampled(const EngineModel& model, const EngineRequest& request, int64_t image = 0) {
  const bool variance = model.schedule.variance == VarianceType::kLearnedRange;
  const Tensor labels = request.class_labels.empty()
                            ? Tensor()
                            : at::full({1}, request.class_labels.front(), at::kLong);
  return sample(
             model.schedule, model.prediction,
             [=](const Tensor& x, const Tensor& t) { return fake_answer(x, t, labels, variance); },
             request.sampler,
             {.seed = request.seed,
              .first_image = request.first_image + static_cast<uint64_t>(image),
              .image_shape = model.image_shape})
      .squeeze(0);
}

}  // namespace ddpm::testing
