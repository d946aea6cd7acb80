#pragma once

#include <functional>

#include "ddpm/core/tensor.h"
#include "ddpm/serving/api/edit_task.h"

namespace ddpm {

/// Draws an edit's images by the sampling layer's own functions, as `ddpm edit` does in one batch.
///
/// @param network of the task's model (Engine::lend_network).
/// @param on_call before each network call; what it throws ends the edit.
/// @return        [N, C, H, W] float32 on the CPU.
/// @throws HttpError 422 if options contradict each other, and what network and on_call throw.
Tensor draw_edit(const EditTask& task, const EngineNetwork& network,
                 const std::function<void()>& on_call);

/// Throws what draw_edit() would about options, before the network is asked for anything.
void check_edit(const EditTask& task);

}  // namespace ddpm
