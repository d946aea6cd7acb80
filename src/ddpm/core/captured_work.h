#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "ddpm/core/tensor.h"

namespace ddpm {

class CudaGraph;

/// Runs work that is the same each time. On a GPU it runs as it is at first, on the stream that
/// will capture it, and is then captured in a CUDA graph, which one launch replays; the bits stay
/// the same. On other devices, without CUDA, and where it can't be captured, it runs as it is; the
/// last is said once in the log.
///
/// Work that is to be captured
///  - reads and writes tensors by address: what it reads keeps its storage between runs, and what
///    it makes is overwritten by the next run, but for what a CapturedCopy reads and writes
///    (kernels/captured_copy.h);
///  - reads nothing back to the host and copies nothing from pageable memory;
///  - seeds no generator. A seed set before a run counts in it, captured or not.
class CapturedWork {
 public:
  /// @param name         for the log, as in "[TrainStep]".
  /// @param warm_up_runs before the capture, at least 1: libraries choose and allocate in them.
  /// @param capture      false: it always runs as it is, and nothing is said.
  CapturedWork(std::string name, at::Device device, int64_t warm_up_runs, bool capture = true);
  ~CapturedWork();
  CapturedWork(CapturedWork&&) noexcept;
  CapturedWork& operator=(CapturedWork&&) = delete;

  /// Runs `work`, or replays what it did when it was captured.
  void run(const std::function<void()>& work);

  /// What run() replays; null as long as nothing is captured.
  CudaGraph* graph() const { return graph_.get(); }
  bool is_captured() const { return graph_ != nullptr; }

 private:
  std::string name_;
  at::Device device_;
  int64_t warm_up_runs_;
  bool capture_;
  std::unique_ptr<CudaGraph> graph_;
};

}  // namespace ddpm
