#include "ddpm/serving/engine/engine_admission.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/sampling/guidance.h"
#include "ddpm/sampling/levels.h"
#include "ddpm/serving/engine/engine_slots.h"

namespace ddpm {
namespace {

constexpr int64_t kMaxTraceFrames = 100;
constexpr std::chrono::seconds kPriorityHeadStart{30};

void check_range(const char* field, int64_t value, int64_t min, int64_t max) {
  check_arg(value >= min && value <= max, "[engine] ", field, ": expected ", min, " to ", max,
            ", got ", value);
}

void check_labels(const EngineRequest& request, const EngineModel& model) {
  const auto& labels = request.class_labels;
  if (model.num_labels == 0) {
    check_arg(labels.empty(), "[engine] class_labels: expected none for a model without classes, ",
              "got ", labels.size());
    return;
  }
  const auto count = static_cast<int64_t>(labels.size());
  check_arg(count == 1 || count == request.num_images,
            "[engine] class_labels: expected one for all or one for each of ", request.num_images,
            " images, which this model of ", model.num_labels, " classes needs, got ", count);
  for (const int64_t label : labels) check_range("class_labels", label, 0, model.num_labels - 1);
}

}  // namespace

void check_request(const EngineRequest& request, const EngineModel& model,
                   const EngineOptions& options) {
  check_arg(
      model.super_resolution == 0,
      "[engine] model: expected one that draws from noise alone, got one that enlarges images ",
      model.super_resolution, " times");
  check_range("num_images", request.num_images, 1, options.max_images);
  check_range("priority", request.priority, -1, 1);
  check_range("trace_frames", request.trace_frames, 0, kMaxTraceFrames);
  const auto last = static_cast<uint64_t>(request.num_images - 1);
  check_arg(request.first_image <= std::numeric_limits<uint64_t>::max() - last,
            "[engine] first_image: expected numbers of images up to 2^64 - 1, got ",
            request.first_image, " and ", last, " more");
  check_range("sampler.steps", count_sampler_steps(request.sampler, model.schedule.num_timesteps()),
              1, options.max_steps);
  check_labels(request, model);
  check_guidance(request.guidance);
  check_arg(request.guidance.scale == 1 || model.null_class >= 0,
            "[engine] guidance.scale: expected 1 for a model that knows no null class, got ",
            request.guidance.scale);
}

std::unique_ptr<OpenRequest> open_request(EngineRequest request, EngineEvents events,
                                          const std::shared_ptr<const EngineModel>& model,
                                          const EngineOptions& options, EnginePlans& plans) {
  check_request(request, *model, options);
  auto open = std::make_unique<OpenRequest>();
  open->model = model;
  open->interval = guided_timesteps(model->schedule, request.guidance);
  open->plan = plans.find(*model, request.sampler);
  check_arg(!model->self_conditioning || open->plan->whole_timesteps,
            "[engine] sampler: expected one of whole timesteps for a self-conditioned model, got ",
            enum_word(request.sampler.kind), " with levels ", enum_word(request.sampler.levels));
  open->num_steps = open->plan->num_steps();
  open->arrival = EngineClock::now();
  open->rank = open->arrival - request.priority * kPriorityHeadStart;
  open->request = std::move(request);
  open->events = std::move(events);
  return open;
}

void check_engine_options(const EngineOptions& options) {
  const int64_t any = std::numeric_limits<int64_t>::max();
  check_range("max_batch", options.max_batch, 2, any);
  check_range("max_in_flight", options.max_in_flight, 1, any);
  check_range("max_open_images", options.max_open_images, 1, any);
  check_range("max_images", options.max_images, 1, any);
  check_range("max_steps", options.max_steps, 1, any);
  check_range("max_state_bytes", options.max_state_bytes, 1, any);
  check_range("max_plan_bytes", options.max_plan_bytes, 1, any);
  check_range("max_model_bytes", options.max_model_bytes, 1, any);
  check_range("preview_every", options.preview_every, 1, any);
  check_range("finite_check_every", options.finite_check_every, 1, any);
  const auto& sizes = options.batch_sizes;
  check_arg(sizes.empty() || (sizes.front() >= 1 && std::is_sorted(sizes.begin(), sizes.end())),
            "[engine] batch_sizes: expected ascending positive sizes");
}

void check_engine_model(const EngineModel& model, const EngineOptions& options) {
  check_arg(!model.id.empty(), "[engine] a model's id: expected a name, got an empty one");
  check_arg(model.size_bytes <= options.max_model_bytes, "[engine] model ", model.id,
            ": expected weights of at most ", options.max_model_bytes, " bytes, got ",
            model.size_bytes);
  check_arg(model.image_shape.size() == 3, "[engine] model ", model.id,
            ": expected image_shape [C, H, W], got ", model.image_shape.size(), " sizes");
  check_arg(model.load != nullptr, "[engine] model ", model.id, ": expected a way to load it");
}

}  // namespace ddpm
