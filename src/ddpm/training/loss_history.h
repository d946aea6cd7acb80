#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

constexpr int64_t kHistoryLength = 10;
constexpr double kUniformShare = 0.001;

/// The last losses of every timestep, for choosing timesteps by them [IDDPM Sec. 3.3]. On the
/// device, in fixed storage.
struct LossHistory {
  Tensor losses;  ///< [T, kHistoryLength] float32, a ring for each timestep.
  Tensor counts;  ///< [T] int64, losses that a timestep has seen; the next goes to counts % length.

  /// Calls visit(name, tensor) for each field.
  template <typename Visitor>
  void visit_tensors(Visitor&& visit) {
    visit("losses", losses);
    visit("counts", counts);
  }
};

LossHistory make_loss_history(int64_t num_timesteps, at::Device device);

/// Timesteps and how much each loss counts, so that the mean stays that of uniform timesteps.
struct WeightedTimesteps {
  Tensor t;        ///< [N] int64
  Tensor weights;  ///< [N] float32, 1 / (T p_t)
};

/// Draws timesteps with p_t proportional to sqrt(mean of L_t^2 over its history), mixed with
/// kUniformShare of the uniform distribution; uniform until every timestep's history is full. Free
/// of host synchronisation, and the same on every run: the distribution is summed in integers.
///
/// @param draws [N] float64, uniform in [0, 1), on the history's device.
WeightedTimesteps choose_timesteps(const LossHistory& history, const Tensor& draws);

/// Takes a batch's losses in, in the batch's order, unless `counts` says no. Free of host
/// synchronisation.
///
/// @param t      [N] int64, 0 <= t < T.
/// @param losses [N] float32, before they were multiplied by WeightedTimesteps::weights.
/// @param counts [] bool on the device: false leaves the history as it was.
void add_to_history(LossHistory& history, const Tensor& t, const Tensor& losses,
                    const Tensor& counts);

}  // namespace ddpm
