#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/field.h"

namespace ddpm {

/// The classifier of noisy images: a U-Net's way down, then a mean over the pixels.
struct ClassifierConfig {
  int64_t in_channels = 0;
  int64_t num_classes = 0;
  std::vector<int64_t> block_out_channels{64, 128, 256};
  int64_t layers_per_block = 2;
  bool attention = true;
  int64_t attention_head_dim = 64;
  int64_t norm_num_groups = 32;
  double dropout = 0.0;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("in_channels", in_channels, "0 from the data", at_least(0));
    visit("num_classes", num_classes, "0 from the data", at_least(0));
    visit("block_out_channels", block_out_channels,
          "channels of each level, highest resolution first; the last are the features",
          at_least(1));
    visit("layers_per_block", layers_per_block, "res blocks a level", between(1, 64));
    visit("attention", attention, "self-attention after each res block of the last level");
    visit("attention_head_dim", attention_head_dim, "channels a head; 0: one head", at_least(0));
    visit("norm_num_groups", norm_num_groups, "groups of every norm", at_least(1));
    visit("dropout", dropout, "in every res block", between(0, 1));
  }
};

}  // namespace ddpm
