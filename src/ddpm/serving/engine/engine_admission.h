#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "ddpm/serving/engine/engine_model.h"
#include "ddpm/serving/engine/engine_options.h"
#include "ddpm/serving/engine/engine_plans.h"
#include "ddpm/serving/engine/engine_request.h"
#include "ddpm/serving/engine/image_in_flight.h"

namespace ddpm {

enum class RejectReason { kQueueFull, kDraining, kUnknownModel };

/// A request that the engine did not take, though nothing may be wrong with it.
class EngineRejected : public std::runtime_error {
 public:
  EngineRejected(RejectReason why, const std::string& message, double after_seconds = 0)
      : std::runtime_error(message), reason(why), retry_after_seconds(after_seconds) {}

  RejectReason reason;
  double retry_after_seconds;  ///< Of kQueueFull: when there is likely room.
};

/// All of a request that can be checked without its plan: counts, classes, guidance, priority,
/// against the model and the engine's bounds. Nothing is allocated for it.
///
/// @throws std::invalid_argument that names the field, what was expected and what came.
void check_request(const EngineRequest& request, const EngineModel& model,
                   const EngineOptions& options);

/// A checked request with its plan, from a model. It has no ticket yet.
///
/// @throws std::invalid_argument as check_request, guided_timesteps and make_sampler_plan do, or if
///         the sampler has fractional timesteps and the model is self-conditioned.
std::unique_ptr<OpenRequest> open_request(EngineRequest request, EngineEvents events,
                                          const std::shared_ptr<const EngineModel>& model,
                                          const EngineOptions& options, EnginePlans& plans);

/// @throws std::invalid_argument if an option is out of range, or a model is larger than the room
///         for models, or has no [C, H, W].
void check_engine_options(const EngineOptions& options);
void check_engine_model(const EngineModel& model, const EngineOptions& options);

}  // namespace ddpm
