#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/model/resnet_block.h"

namespace ddpm {

/// What a network's res blocks take of the embedding, each in its turn.
class TimeRows {
 public:
  explicit TimeRows(std::vector<Tensor> rows) : rows_(std::move(rows)) {}
  /// The next block's, as ResnetBlock::forward takes it.
  const Tensor& next() { return rows_.at(next_++); }

 private:
  std::vector<Tensor> rows_;
  size_t next_ = 0;
};

/// time_emb_proj of all res blocks in one product, because each alone is far too small to fill a
/// device.
class TimeProjections {
 public:
  /// @param blocks in the order in which they run.
  void set(std::vector<ResnetBlock> blocks) { blocks_ = std::move(blocks); }

  /// @param e [N, time_channels], SiLU taken.
  TimeRows operator()(const Tensor& e) const { return split(rows_of(e)); }
  /// What all blocks take, side by side: [N, the sum of their channels].
  Tensor rows_of(const Tensor& e) const;
  /// Such rows in the blocks' turn.
  TimeRows split(const Tensor& rows) const;

  /// As PreparableModule's.
  void prepare_for_sampling();

  /// Every tensor that the rows depend on.
  std::vector<Tensor> parameters() const;

 private:
  std::vector<Tensor> weights() const;
  Tensor bias() const;

  std::vector<ResnetBlock> blocks_;
  PackedWeight packed_;
  Tensor packed_bias_;  ///< of packed_.
};

}  // namespace ddpm
