#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

constexpr int64_t kTimestepQuarters = 4;

/// A micro-batch's losses, one an image; detached, all on one device.
struct MicroBatchLosses {
  Tensor objective;     ///< [n] float32, what training lowers.
  Tensor plain;         ///< [n] float32, unweighted.
  Tensor t;             ///< [n] int64, 0 <= t < T.
  Tensor correct = {};  ///< [n] bool, whether a classifier is right; else undefined.
};

/// One step's losses, on the device, until it is known whether the step counts.
struct StepLosses {
  Tensor loss;              ///< [] float32, the mean of the batch's objectives.
  Tensor quarter_loss_sum;  ///< [4] float64, of the plain losses with t in that quarter.
  Tensor quarter_images;    ///< [4] float64, how many images those were.
  Tensor correct = {};      ///< [] float64; undefined for what is no classifier.
};

/// What happened since the last logged row, summed on the device: nothing waits for it until it is
/// read. Skipped steps count only in longest_nonfinite_row and last_nonfinite.
struct StepStatistics {
  Tensor quarter_loss_sum;  ///< [4] float64, unweighted losses of images with t in that quarter.
  Tensor quarter_images;    ///< [4] float64, how many images those were.
  Tensor loss_sum;          ///< [] float64, the steps' losses: weighted, what training lowers.
  Tensor grad_norm_sum;     ///< [] float64, before clipping.
  Tensor steps;             ///< [] float64, steps taken in.
  Tensor longest_nonfinite_row;  ///< [] int64, of the whole run.
  Tensor last_nonfinite;         ///< [3] float64: step, loss and gradient norm of the last skip.
  Tensor correct = {};  ///< [] float64, images that a classifier was right about; else undefined.

  /// Calls visit(name, tensor) for each field.
  template <typename Visitor>
  void visit_tensors(Visitor&& visit) {
    visit("quarter_loss_sum", quarter_loss_sum);
    visit("quarter_images", quarter_images);
    visit("loss_sum", loss_sum);
    visit("grad_norm_sum", grad_norm_sum);
    visit("steps", steps);
    visit("longest_nonfinite_row", longest_nonfinite_row);
    visit("last_nonfinite", last_nonfinite);
    if (correct.defined()) visit("correct", correct);
  }
};

/// The batch of which micro-batches are parts.
struct WholeBatch {
  int64_t size;           ///< Images of a step.
  int64_t num_timesteps;  ///< T.
};

/// Zeros, on `device`.
/// @param classifies whether `correct` is defined.
StepStatistics make_step_statistics(at::Device device, bool classifies = false);
StepLosses make_step_losses(at::Device device, bool classifies = false);

/// Adds a micro-batch to the step's losses; the first one of a step replaces what they held. One
/// kernel on a GPU, which sums in float64 in a fixed order.
///
///     loss = loss + sum(objective) / size;   quarter k is that of t with t * 4 / T = k
///
/// @throws std::invalid_argument if the shapes differ, or `correct` is there for one of them alone.
void add_losses(StepLosses& step, const MicroBatchLosses& losses, const WholeBatch& batch,
                bool is_first);

/// Takes a step into the statistics, or notes that it was skipped: NaN times 0 is NaN, so its
/// losses are left out by selection. One kernel on a GPU.
///
/// @param step               [] int64 on the device: the step's number.
/// @param grad_norm          [] float32.
/// @param nonfinite_in_a_row [] int64, after the step: 0 says that it was taken in.
void add_step(StepStatistics& statistics, const StepLosses& losses, const Tensor& step,
              const Tensor& grad_norm, const Tensor& nonfinite_in_a_row);

}  // namespace ddpm
