#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/step_sums_kernels.h"
#include "ddpm/kernels/cuda/warp_sum.cuh"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

/// Where each of a micro-batch's sums stands.
enum Sum {
  kObjective,
  kCorrect,
  kPlain,
  kImages = kPlain + kQuarters,
  kSums = kImages + kQuarters
};

/// A thread's images: every kThreads-th.
__device__ __forceinline__ void sum_images(const MicroBatchBuffers& losses, double (&sums)[kSums]) {
  for (int64_t i = threadIdx.x; i < losses.images; i += kThreads) {
    const int64_t quarter = losses.t[i] * kQuarters / losses.num_timesteps;
    const auto plain = static_cast<double>(losses.plain[i]);
    sums[kObjective] += static_cast<double>(losses.objective[i]);
    if (losses.correct != nullptr && losses.correct[i]) sums[kCorrect] += 1;
#pragma unroll
    for (int k = 0; k < kQuarters; ++k) {
      if (quarter != k) continue;  // NaN stays in its quarter
      sums[kPlain + k] += plain;
      sums[kImages + k] += 1;
    }
  }
}

/// Where a sum of float64 goes to; null if nowhere.
__device__ __forceinline__ double* place_of(const StepLossBuffers& step, int sum) {
  if (sum == kCorrect) return step.correct;
  return sum < kImages ? step.quarter_loss_sum + (sum - kPlain)
                       : step.quarter_images + (sum - kImages);
}

__global__ void __launch_bounds__(kThreads)
    add_losses_kernel(MicroBatchBuffers losses, StepLossBuffers step, bool is_first) {
  __shared__ double of_warps[kWarps][kSums];
  let_next_kernel_begin();
  wait_for_previous_kernel();
  double sums[kSums] = {};
  sum_images(losses, sums);
#pragma unroll
  for (int k = 0; k < kSums; ++k) {
    const double sum = warp_sum(sums[k]);
    if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp][k] = sum;
  }
  __syncthreads();
  const int k = static_cast<int>(threadIdx.x);
  if (k >= kSums) return;
  double sum = 0;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) sum += of_warps[warp][k];
  if (k == kObjective) {
    const auto share = static_cast<float>(sum / static_cast<double>(losses.step_images));
    *step.loss = is_first ? share : *step.loss + share;
  } else if (double* const to = place_of(step, k); to != nullptr) {
    *to = is_first ? sum : *to + sum;
  }
}

/// Lane k takes its number of them.
__global__ void __launch_bounds__(kWarp)
    add_step_kernel(StepStatisticsBuffers statistics, StepLossBuffers step) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const int k = static_cast<int>(threadIdx.x);
  const int64_t skipped = *statistics.nonfinite_in_a_row;
  const auto loss = static_cast<double>(*step.loss);
  const auto grad_norm = static_cast<double>(*statistics.grad_norm);
  if (k == 0 && skipped > *statistics.longest_nonfinite_row) {
    *statistics.longest_nonfinite_row = skipped;
  }
  if (skipped != 0) {
    if (k == 0) statistics.last_nonfinite[0] = static_cast<double>(*statistics.step);
    if (k == 1) statistics.last_nonfinite[1] = loss;
    if (k == 2) statistics.last_nonfinite[2] = grad_norm;
    return;
  }
  if (k < kQuarters) {
    statistics.quarter_loss_sum[k] += step.quarter_loss_sum[k];
    statistics.quarter_images[k] += step.quarter_images[k];
  }
  if (k == kQuarters) *statistics.loss_sum += loss;
  if (k == kQuarters + 1) *statistics.grad_norm_sum += grad_norm;
  if (k == kQuarters + 2) *statistics.steps += 1;
  if (k == kQuarters + 3 && statistics.correct != nullptr) *statistics.correct += *step.correct;
}

}  // namespace

cudaError_t add_losses(const MicroBatchBuffers& losses, const StepLossBuffers& step, bool is_first,
                       cudaStream_t stream) {
  return launch_early(
      {.blocks = dim3(1), .threads = dim3(kThreads), .shared_bytes = 0, .stream = stream},
      add_losses_kernel, losses, step, is_first);
}

cudaError_t add_step(const StepStatisticsBuffers& statistics, const StepLossBuffers& step,
                     cudaStream_t stream) {
  return launch_early(
      {.blocks = dim3(1), .threads = dim3(kWarp), .shared_bytes = 0, .stream = stream},
      add_step_kernel, statistics, step);
}

}  // namespace ddpm::cuda
