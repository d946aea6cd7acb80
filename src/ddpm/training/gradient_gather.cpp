#include "ddpm/training/gradient_gather.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/core/current_stream.h"
#include "ddpm/kernels/copy_tensors.h"
#include "ddpm/kernels/gradients_beside.h"

namespace ddpm {
namespace {

// Copied at once: as much as one launch takes, and not so little that launches are what it costs.
constexpr size_t kMostBytes = size_t{8} << 20, kMostTensors = 40;

}  // namespace

/// What the hooks share, which run on autograd's threads.
class GradientGather::Targets {
 public:
  explicit Targets(std::vector<Tensor> leaves) : leaves_(std::move(leaves)) {}

  const std::vector<Tensor>& leaves() const { return leaves_; }

  void begin(std::vector<Tensor> targets) {
    const std::lock_guard lock(mutex_);
    forget();
    targets_ = std::move(targets);
    was_taken_.assign(leaves_.size(), false);
    stream_ = current_stream(leaves_.front().device());
  }

  void take(size_t index) {
    const std::lock_guard lock(mutex_);
    if (stream_ && *stream_ == current_stream(leaves_[index].device())) take_now(index);
  }

  void end() {
    const std::lock_guard lock(mutex_);
    check_arg(stream_.has_value(), "[GradientGather::end] expected begin() before, got none");
    for (size_t i = 0; i < leaves_.size(); ++i) {
      if (leaves_[i].grad().defined()) take_now(i);
      if (!was_taken_[i]) targets_[i].zero_();
    }
    copy();
    forget();
  }

  void drop() {
    const std::lock_guard lock(mutex_);
    forget();
    for (const Tensor& leaf : leaves_) leaf.mutable_grad() = Tensor();
  }

 private:
  void forget() {
    stream_.reset();
    targets_.clear();
    from_.clear();
    to_.clear();
    bytes_ = 0;
  }

  void take_now(size_t index) {
    Tensor grad = std::exchange(leaves_[index].mutable_grad(), Tensor());
    if (was_taken_[index]) return add(std::move(grad), targets_[index]);
    was_taken_[index] = true;
    bytes_ += grad.nbytes();
    from_.push_back(std::move(grad));
    to_.push_back(targets_[index]);
    if (bytes_ >= kMostBytes || from_.size() >= kMostTensors) copy();
  }

  void copy() {
    if (from_.empty()) return;
    const std::vector<Tensor> from = std::exchange(from_, {}), to = std::exchange(to_, {});
    bytes_ = 0;
    run_beside_gradients(from, [&] { copy_tensors(from, to); });
  }

  /// Another one of the same leaf: a sum in the gradient's dtype, as autograd's own.
  void add(Tensor grad, const Tensor& target) {
    copy();
    run_beside_gradients({grad},
                         [&] { target.copy_(at::add(target.to(grad.scalar_type()), grad)); });
  }

  std::mutex mutex_;
  std::vector<Tensor> leaves_, targets_;
  std::vector<bool> was_taken_;
  std::vector<Tensor> from_, to_;      ///< to be copied, and where to
  size_t bytes_ = 0;                   ///< of from_
  std::optional<c10::Stream> stream_;  ///< of begin(), until end()
};

class GradientGather::Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(const std::shared_ptr<Targets>& targets, size_t index) : targets_(targets), index_(index) {}

  void operator()(const Tensor& /*leaf*/) override {
    const at::NoGradGuard no_grad;
    if (const auto targets = targets_.lock()) targets->take(index_);
  }

 private:
  std::weak_ptr<Targets> targets_;
  size_t index_;
};

GradientGather::GradientGather(std::vector<Tensor> leaves)
    : targets_(std::make_shared<Targets>(std::move(leaves))) {
  for (size_t i = 0; i < targets_->leaves().size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(targets_->leaves()[i],
                                                   std::make_unique<Hook>(targets_, i));
  }
}

void GradientGather::begin(std::vector<Tensor> targets) { targets_->begin(std::move(targets)); }

void GradientGather::end() {
  const at::NoGradGuard no_grad;
  targets_->end();
}

void GradientGather::drop() { targets_->drop(); }

}  // namespace ddpm
