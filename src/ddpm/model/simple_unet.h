#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ddpm/config/model_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/model/gate.h"
#include "ddpm/model/layers.h"
#include "ddpm/model/network.h"
#include "ddpm/model/self_attention_block.h"
#include "ddpm/model/simple_block.h"

namespace ddpm {

/// The talk's three networks, and what lies between and beyond them (SimpleUnetConfig): blocks down
/// to the bottleneck and up again, with the talk's tensor names. Each up block takes over the map
/// that its mirror image put out, after the resampling.
///
/// Self-attention works on what passes from block to block; a skip is what the block put out, not
/// what became of it. At a level above the bottleneck there are two, on the way down and up.
/// An attention gate on a skip listens to the features of the up block below, before they are
/// enlarged.
///
/// Names, in order: time_mlp.1, conv0, down_blocks.<i>, up_blocks.<i>, then those that there are
/// of skip_gates.<level>, bottleneck_gate, down_self_attention.<level>, up_self_attention.<level>
/// and self_attention (the bottleneck's, as in the talk), then output.
class SimpleUnetImpl : public NetworkImpl {
 public:
  explicit SimpleUnetImpl(const SimpleUnetConfig& config);

  /// H and W must be multiples of size_factor(config). The timestep embedding is computed in
  /// float64 for a float64 network, and in float32 otherwise.
  Tensor forward(const Tensor& x, const Tensor& t, const NetworkLabels& labels) override;

 private:
  void add_blocks();
  void add_gates();
  void add_self_attention();
  Tensor embed(const Tensor& t, at::ScalarType dtype);
  /// What the blocks take of the embedding, in the order in which they run.
  TimeRows time_rows(const Tensor& e) const;

  SimpleUnetConfig config_;
  int64_t bottleneck_;
  Linear time_mlp_{nullptr};
  Conv2d conv0_{nullptr}, output_{nullptr};
  std::vector<SimpleBlock> down_blocks_, up_blocks_;
  // One a level; null where the level has none.
  std::vector<std::shared_ptr<GateImpl>> skip_gates_;
  std::vector<SelfAttentionBlock> down_attention_, up_attention_;
  std::shared_ptr<GateImpl> bottleneck_gate_;
};

}  // namespace ddpm
