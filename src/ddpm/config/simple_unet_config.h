#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ddpm/config/field.h"

namespace ddpm {

/// A module that multiplies a map by weights between 0 and 1.
enum class GateKind { kNone, kCbam, kAttentionGate, kSqueezeExcite };
/// Where the gates stand: before each block resamples, on the skips, after the last down block.
enum class GatePlace { kBlockEnd, kSkip, kBottleneck };

template <>
struct EnumNames<GateKind> {
  static constexpr std::array names{"none", "cbam", "attention_gate", "squeeze_excite"};
};
template <>
struct EnumNames<GatePlace> {
  static constexpr std::array names{"block_end", "skip", "bottleneck"};
};

/// The talk's SimpleUnet; at the defaults it is the talk's own. With self_attention_levels = [4] it
/// is the talk's network with self-attention; with gate = cbam and gate_places = [block_end]
/// besides, its network with CBAM.
///
/// Level i has the maps that were halved i times, level_channels[i] channels wide where they lie
/// between blocks; the last level is the bottleneck. A block works on one level and puts out the
/// next one.
struct SimpleUnetConfig {
  int64_t image_channels = 0;
  std::vector<int64_t> level_channels{64, 128, 256, 512, 1024};
  int64_t norm_num_groups = 0;
  double dropout = 0.0;
  std::vector<int64_t> self_attention_levels;
  double self_attention_dropout = 0.1;
  GateKind gate = GateKind::kNone;
  std::vector<GatePlace> gate_places;
  std::vector<int64_t> gate_levels;
  int64_t gate_reduction = 0;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("image_channels", image_channels, "channels in and out; 0 from the data", at_least(0));
    visit("level_channels", level_channels,
          "channels of each level, highest resolution first; n of them halve the image n - 1 times",
          at_least(1));
    visit("norm_num_groups", norm_num_groups,
          "groups of group norm, which sees one image at a time; 0: batch norm, as in the talk",
          at_least(0));
    visit("dropout", dropout, "in every block", between(0, 1));
    visit("self_attention_levels", self_attention_levels,
          "levels that attend over their pixels; the talk's two networks with attention: [4]",
          at_least(0));
    visit("self_attention_dropout", self_attention_dropout, "of self-attention's two branches",
          between(0, 1));
    visit("gate", gate, "what weighs the maps");
    visit("gate_places", gate_places, "where gates stand; the talk's CBAM: [\"block_end\"]");
    visit("gate_levels", gate_levels,
          "levels whose blocks (by the map they convolve) or skips have gates; none: all",
          at_least(0));
    visit("gate_reduction", gate_reduction,
          "a gate's channels over those inside it; 0: 2 for attention_gate, 16 for the others",
          at_least(0));
  }
};

}  // namespace ddpm
