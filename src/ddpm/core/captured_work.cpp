#include "ddpm/core/captured_work.h"

#include <exception>
#include <mutex>
#include <set>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/core/log.h"
#ifdef DDPM_CUDA
#include "ddpm/core/cuda_graph.h"
#endif

namespace ddpm {
#ifndef DDPM_CUDA
class CudaGraph {};  // there is never one
#endif

namespace {

#ifdef DDPM_CUDA
/// @param reason its first line is said.
void say_once(const std::string& name, const std::string& reason) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard lock(mutex);
  if (!said.insert(name).second) return;
  log_warn("[" + name +
           "] can't be captured in a CUDA graph and runs uncaptured, which is slower: " +
           reason.substr(0, reason.find('\n')));
}
#endif

}  // namespace

CapturedWork::CapturedWork(std::string name, at::Device device, int64_t warm_up_runs, bool capture)
    : name_(std::move(name)), device_(device), warm_up_runs_(warm_up_runs), capture_(capture) {
  check_arg(warm_up_runs >= 1, "[CapturedWork] warm_up_runs: expected 1 or more, got ",
            warm_up_runs);
}

CapturedWork::~CapturedWork() = default;
CapturedWork::CapturedWork(CapturedWork&&) noexcept = default;

void CapturedWork::run(const std::function<void()>& work) {
#ifdef DDPM_CUDA
  if (capture_ && device_.is_cuda()) {
    if (warm_up_runs_ > 0) {
      --warm_up_runs_;
      return run_on_capture_stream(device_, work);
    }
    if (!graph_) {
      try {
        graph_ = std::make_unique<CudaGraph>(device_, work);
      } catch (const std::exception& error) {
        say_once(name_, error.what());
        capture_ = false;
        return work();
      }
    }
    return graph_->replay();
  }
#endif
  work();
}

}  // namespace ddpm
