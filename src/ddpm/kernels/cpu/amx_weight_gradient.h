#pragma once

#include <cstdint>

#include "ddpm/kernels/cpu/amx_tiles.h"
#include "ddpm/kernels/cpu/weight_gradient_plan.h"

namespace ddpm::cpu {

/// True if this CPU multiplies tiles of bfloat16 and the system lets this process do so.
bool has_amx_weight_gradient();

/// What tasks read and write; bfloat16 is uint16_t.
struct GradientMemory {
  const uint16_t* d_y;  ///< [N, O, H', W'] channels_last
  const uint16_t* x;    ///< [N, C, H, W] channels_last
  float* sums;          ///< plan.num_sums()
  uint16_t* d_weight;   ///< [O, k, k, C]
};

/// Does tasks for one thread, whose AMX registers hold tiles while it lives.
class GradientWorker {
 public:
  /// @param tiles plan.num_tile_numbers(), aligned to 64 bytes, of this thread.
  /// @param sums  plan.num_thread_sums(), of this thread.
  GradientWorker(const WeightGradientPlan& plan, const GradientMemory& memory, uint16_t* tiles,
                 float* sums);

  /// One of plan.num_tasks(): writes d_weight if the plan rounds at once, and sums otherwise.
  void run(int64_t index) const;

 private:
  const WeightGradientPlan& plan_;
  const GradientMemory& memory_;
  float* sums_;
  uint16_t* d_y_tiles_;
  uint16_t* x_tiles_;
  AmxRegisters registers_;
};

/// Adds the parts of one of O / 16 tiles of channels and writes d_weight.
void round_parts(const WeightGradientPlan& plan, const GradientMemory& memory, int64_t out_tile);

}  // namespace ddpm::cpu
