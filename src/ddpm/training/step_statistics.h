#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

constexpr int64_t kTimestepQuarters = 4;

/// What happened since the last logged row, summed on the device: nothing waits for it until it is
/// read. Skipped steps count only in the last two fields.
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

/// One step's losses, on the device, until it is known whether the step counts.
struct StepLosses {
  Tensor loss;              ///< [] float32
  Tensor quarter_loss_sum;  ///< [4] float64
  Tensor quarter_images;    ///< [4] float64
  Tensor correct = {};      ///< [] float64; undefined for what is no classifier
};

/// @param classifies whether `correct` is defined.
StepStatistics make_step_statistics(at::Device device, bool classifies = false);
StepLosses make_step_losses(at::Device device, bool classifies = false);

/// Zeros, for the next step.
void clear_losses(StepLosses& step);

/// Adds a micro-batch to the step's losses.
/// @param losses [N] float32, one an image, unweighted, detached.
/// @param t      [N] int64, 0 <= t < num_timesteps; quarter k is t * 4 / num_timesteps = k.
void add_losses(StepLosses& step, const Tensor& losses, const Tensor& t, int64_t num_timesteps);

/// Adds to the images that a classifier was right about.
/// @param correct [N] bool.
void add_correct(StepLosses& step, const Tensor& correct);

/// Takes a step into the statistics, or notes that it was skipped.
/// @param step              [] int64 on the device: the step's number.
/// @param grad_norm         [] float32.
/// @param nonfinite_in_a_row [] int64, after the step: 0 says that it was taken in.
void add_step(StepStatistics& statistics, const StepLosses& losses, const Tensor& step,
              const Tensor& grad_norm, const Tensor& nonfinite_in_a_row);

/// Forgets the sums, for the next row.
void clear_sums(StepStatistics& statistics);

/// The sums' means, on the host; NaN where there was nothing to average.
struct StepMeans {
  double loss = 0;
  double grad_norm = 0;
  std::array<double, kTimestepQuarters> quarter_loss{};
  std::optional<double> accuracy = {};  ///< of a classifier
};
StepMeans read_means(const StepStatistics& statistics);

}  // namespace ddpm
