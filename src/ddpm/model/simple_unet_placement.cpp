#include "ddpm/model/simple_unet_placement.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <vector>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr size_t kMaxLevels = 17;

template <typename T>
bool contains(const std::vector<T>& list, const T& value) {
  return std::ranges::find(list, value) != list.end();
}

/// Whether the network has such a place.
bool is_place(const SimpleUnetConfig& config, GatePlace place, int64_t level) {
  const int64_t deepest = bottleneck_level(config);
  switch (place) {
    case GatePlace::kBlockEnd:
      return level >= 0 && level <= deepest;
    case GatePlace::kSkip:
      return level >= 1 &&
             level <= (config.gate == GateKind::kAttentionGate ? deepest - 1 : deepest);
    case GatePlace::kBottleneck:
      return level == deepest;
  }
  throw std::logic_error("[has_gate] not a GatePlace");
}

template <typename T>
void check_no_twice(const char* where, const char* field, std::vector<T> list) {
  std::ranges::sort(list);
  check_arg(std::ranges::adjacent_find(list) == list.end(), where, "simple_unet.", field,
            " names one twice: expected each once, got ", list.size(), " entries, some equal");
}

void check_level_channels(const SimpleUnetConfig& config, const char* where) {
  const size_t levels = config.level_channels.size();
  check_arg(levels >= 2 && levels <= kMaxLevels, where,
            "simple_unet.level_channels must list the levels: expected 2 to ", kMaxLevels,
            " of them, got ", levels);
  check_arg(config.norm_num_groups >= 0, where,
            "simple_unet.norm_num_groups is out of range: expected at least 0, got ",
            config.norm_num_groups);
  for (const int64_t channels : config.level_channels) {
    check_arg(channels >= 1, where,
              "simple_unet.level_channels is out of range: expected each at least 1, got ",
              channels);
    check_arg(config.norm_num_groups == 0 || channels % config.norm_num_groups == 0, where,
              "simple_unet.norm_num_groups must divide simple_unet.level_channels: expected "
              "multiples of ",
              config.norm_num_groups, ", got ", channels);
  }
}

void check_list_of_levels(const SimpleUnetConfig& config, const char* where, const char* field,
                          const std::vector<int64_t>& levels) {
  check_no_twice(where, field, levels);
  for (const int64_t level : levels) {
    check_arg(level >= 0 && level <= bottleneck_level(config), where, "simple_unet.", field,
              " names no level of the network: expected 0 to ", bottleneck_level(config), ", got ",
              level);
  }
}

void check_no_gate(const SimpleUnetConfig& config, const char* where) {
  check_arg(config.gate_places.empty(), where,
            "simple_unet.gate_places places a gate that is not there: expected simple_unet.gate "
            "other than none, or no places, got none and ",
            config.gate_places.size(), " places");
  check_arg(config.gate_levels.empty() && config.gate_reduction == 0, where,
            "simple_unet.gate_levels and gate_reduction are a gate's: expected simple_unet.gate "
            "other than none, got none");
}

/// What is listed must lead to gates.
void check_gate_places(const SimpleUnetConfig& config, const char* where) {
  const auto gates = [&](const auto& places, const auto& levels) {
    return std::ranges::any_of(places, [&](GatePlace place) {
      return std::ranges::any_of(levels,
                                 [&](int64_t level) { return has_gate(config, place, level); });
    });
  };
  std::vector<int64_t> levels;
  for (int64_t i = 0; i <= bottleneck_level(config); ++i) levels.push_back(i);
  for (const GatePlace place : config.gate_places) {
    check_arg(config.gate != GateKind::kAttentionGate || place == GatePlace::kSkip, where,
              "simple_unet.gate attention_gate weighs a skip by the level below it: expected "
              "gate_places [skip], got ",
              enum_word(place));
    check_arg(gates(std::array{place}, levels), where, "simple_unet.gate_places ", enum_word(place),
              " has no gate on any level of gate_levels: expected a level that ",
              "has one, or this place left out");
  }
  check_arg(!contains(config.gate_places, GatePlace::kBottleneck) ||
                config.gate_places.size() > 1 || config.gate_levels.empty(),
            where,
            "simple_unet.gate_levels does not move the bottleneck's gate: expected none with "
            "gate_places [bottleneck], got ",
            config.gate_levels.size());
  for (const int64_t level : config.gate_levels) {
    check_arg(gates(config.gate_places, std::array{level}), where, "simple_unet.gate_levels ",
              level, " has nothing to gate: expected block_end 0 to ", levels.back(),
              ", skip 1 to ", levels.back(), " (attention_gate: to ", levels.back() - 1, ")");
  }
}

}  // namespace

int64_t bottleneck_level(const SimpleUnetConfig& config) {
  return static_cast<int64_t>(config.level_channels.size()) - 1;
}

int64_t size_factor(const SimpleUnetConfig& config) {
  return int64_t{1} << bottleneck_level(config);
}

bool has_gate(const SimpleUnetConfig& config, GatePlace place, int64_t level) {
  const bool on_level = place == GatePlace::kBottleneck || config.gate_levels.empty() ||
                        contains(config.gate_levels, level);
  return config.gate != GateKind::kNone && contains(config.gate_places, place) && on_level &&
         is_place(config, place, level);
}

bool has_self_attention(const SimpleUnetConfig& config, int64_t level) {
  return contains(config.self_attention_levels, level);
}

void check_simple_unet(const SimpleUnetConfig& config, const char* where) {
  check_level_channels(config, where);
  check_list_of_levels(config, where, "self_attention_levels", config.self_attention_levels);
  check_list_of_levels(config, where, "gate_levels", config.gate_levels);
  check_no_twice(where, "gate_places", config.gate_places);
  if (config.gate == GateKind::kNone) return check_no_gate(config, where);
  check_arg(!config.gate_places.empty(), where,
            "simple_unet.gate needs a place: expected gate_places of block_end, skip or "
            "bottleneck, got none");
  check_arg(config.gate_reduction >= 0, where,
            "simple_unet.gate_reduction is out of range: expected at least 0, got ",
            config.gate_reduction);
  check_gate_places(config, where);
}

}  // namespace ddpm
