#include "ddpm/serving/engine/engine_plans.h"

#include <utility>

#include "ddpm/config/json_config.h"

namespace ddpm {
namespace {

/// Differs where plans could: models are told apart by their address too, since a model of the same
/// name may have come in its place.
std::string plan_key(const EngineModel& model, const SamplerOptions& options) {
  return c10::str(model.id, '\n', static_cast<const void*>(&model), '\n',
                  config_to_json(options).dump());
}

}  // namespace

int64_t plan_bytes(const SamplerPlan& plan) {
  std::size_t bytes = sizeof(SamplerPlan) + plan.calls.capacity() * sizeof(SamplerCall);
  for (const SamplerCall& call : plan.calls) bytes += call.writes.capacity() * sizeof(MemoryWrite);
  return static_cast<int64_t>(bytes);
}

std::shared_ptr<const SamplerPlan> EnginePlans::counted(SamplerPlan plan) const {
  const int64_t size = plan_bytes(plan);
  *bytes_ += size;
  return {new SamplerPlan(std::move(plan)), [bytes = bytes_, size](const SamplerPlan* old) {
            *bytes -= size;
            delete old;
          }};
}

std::shared_ptr<const SamplerPlan> EnginePlans::find(const EngineModel& model,
                                                     const SamplerOptions& options) {
  const std::string key = plan_key(model, options);
  {
    const std::lock_guard lock(mutex_);
    const auto found = plans_.find(key);
    if (found != plans_.end()) {
      if (auto plan = found->second.lock()) return plan;
    }
  }
  auto plan = counted(make_sampler_plan(model.schedule, model.prediction, options));
  const std::lock_guard lock(mutex_);
  std::erase_if(plans_, [](const auto& item) { return item.second.expired(); });
  plans_[key] = plan;
  return plan;
}

}  // namespace ddpm
