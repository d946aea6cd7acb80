#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "ddpm/sampling/sampler_plan.h"
#include "ddpm/serving/engine/engine_model.h"

namespace ddpm {

/// The plans of open requests: those that draw alike share one, so that ten thousand requests don't
/// take ten thousand plans' memory. Any thread may call.
class EnginePlans {
 public:
  /// make_sampler_plan for the model, or the same plan if it is in use.
  ///
  /// @throws std::invalid_argument as make_sampler_plan does.
  std::shared_ptr<const SamplerPlan> find(const EngineModel& model, const SamplerOptions& options);

  /// Of the plans that are in use.
  int64_t size_bytes() const { return *bytes_; }

 private:
  std::shared_ptr<const SamplerPlan> counted(SamplerPlan plan) const;

  std::shared_ptr<std::atomic<int64_t>> bytes_ = std::make_shared<std::atomic<int64_t>>(0);
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<const SamplerPlan>> plans_;
};

/// Memory that a plan takes.
int64_t plan_bytes(const SamplerPlan& plan);

}  // namespace ddpm
