#pragma once

#include <c10/core/Event.h>

#include <cstddef>
#include <deque>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Keeps the host only a few steps ahead of a GPU, enough that the GPU never waits. Further ahead
/// it would fill pinned memory with what later steps read, and take long to stop. On a CPU it does
/// nothing.
class HostLead {
 public:
  explicit HostLead(at::Device device, size_t steps = 2) : device_(device), steps_(steps) {}

  /// Before a step: waits until all but steps - 1 of the steps so far are done.
  void wait();
  /// After a step was launched on the current stream.
  void mark();

 private:
  at::Device device_;
  size_t steps_;
  std::deque<c10::Event> launched_;
};

}  // namespace ddpm
