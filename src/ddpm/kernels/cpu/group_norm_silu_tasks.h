#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "ddpm/kernels/cpu/group_norm_silu_kernels.h"

namespace ddpm::cpu {

/// Channels of a task: whole groups, and a multiple of 16 of at least 64 where the map has as many,
/// so that each pixel's part is whole vectors and cache lines.
inline int64_t channels_per_task(const GroupNormShape& shape) {
  const int64_t whole = std::lcm(shape.channels / shape.groups, int64_t{16});
  return std::min(shape.channels, (63 + whole) / whole * whole);
}

/// An image, and a range of its channels.
struct GroupNormTask {
  GroupNormTask(const GroupNormShape& shape, int64_t task) {
    const int64_t each = channels_per_task(shape);
    const int64_t tasks = (shape.channels + each - 1) / each;
    image = task / tasks;
    first_channel = task % tasks * each;
    channels = std::min(each, shape.channels - first_channel);
  }
  int64_t image, first_channel, channels;
};

/// One number a channel of a task, in a place that a thread keeps from task to task.
template <size_t kTables, typename Number>
class TaskTables {
 public:
  /// Tables of zeros.
  explicit TaskTables(int64_t channels) : size_(static_cast<size_t>(channels)) {
    storage().assign(kTables * size_, Number{0});
  }
  Number* operator[](size_t table) { return storage().data() + table * size_; }

 private:
  static std::vector<Number>& storage() {
    thread_local std::vector<Number> numbers;
    return numbers;
  }
  size_t size_;
};

}  // namespace ddpm::cpu
