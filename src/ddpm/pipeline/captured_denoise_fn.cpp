#include "ddpm/pipeline/captured_denoise_fn.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <list>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "ddpm/core/captured_work.h"
#include "ddpm/kernels/call_inputs.h"
#include "ddpm/kernels/captured_copy.h"

namespace ddpm {
namespace {

// Of one function: the ten batch sizes of a server, with whole and with fractional timesteps.
constexpr size_t kMaxGraphs = 24;

bool is_alike(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && a.device() == b.device();
}

/// Room for x, rounded as the network sees it.
Tensor room_for(const Tensor& x, std::optional<at::ScalarType> rounded_to) {
  if (!rounded_to.has_value()) return at::empty_like(x);
  const at::TensorOptions seen = x.options().dtype(*rounded_to);
  return at::empty(x.sizes(), seen.memory_format(at::MemoryFormat::ChannelsLast));
}

CallInputs map_alone(const Tensor& x) { return {.x = x, .t = {}}; }

/// The calls of one shape, in fixed storage.
class CapturedCall {
 public:
  CapturedCall(const Tensor& x, const Tensor& t, const Tensor& labels,
               std::optional<at::ScalarType> rounded_to)
      : dtype_(x.scalar_type()),
        x_(room_for(x, rounded_to)),
        t_(at::empty_like(t)),
        labels_(labels.defined() ? at::empty_like(labels) : labels),
        replay_("network_denoise_fn", x.device(), /*warm_up_runs=*/1) {}

  bool fits(const Tensor& x, const Tensor& t, const Tensor& labels) const {
    return x.sizes() == x_.sizes() && x.scalar_type() == dtype_ && x.device() == x_.device() &&
           is_alike(t, t_) && is_alike(labels, labels_);
  }

  Tensor run(const LabelledDenoiseFn& denoise, const Tensor& x, const Tensor& t,
             const Tensor& labels) {
    const CallInputs from{.x = x,
                          .t = t.contiguous(),
                          .class_labels = labels.defined() ? labels.contiguous() : labels};
    const CallInputs to{.x = x_, .t = t_, .class_labels = labels_};
    const bool takes_inputs = CapturedCopy::takes(from, to);
    if (!takes_inputs) copy_call_inputs(from, to);
    const Tensor answer = room_for_answer();
    if (CudaGraph* const graph = replay_.graph()) {
      if (takes_inputs) inputs_.rebind(*graph, from, to);
      if (answer.defined()) answer_.rebind(*graph, map_alone(output_), map_alone(answer));
    }
    replay_.run([&] {
      if (takes_inputs) inputs_.copy(from, to);
      output_ = denoise(x_, t_, labels_);
      if (answer.defined()) answer_.copy(map_alone(output_), map_alone(answer));
    });
    return answer.defined() ? answer : output_.clone();
  }

 private:
  /// None before the first run, and where the graph can't copy into it.
  Tensor room_for_answer() const {
    if (!output_.defined()) return {};
    const Tensor answer = at::empty_like(output_);
    return CapturedCopy::takes(map_alone(output_), map_alone(answer)) ? answer : Tensor();
  }

  at::ScalarType dtype_;  ///< Of the x that comes in.
  Tensor x_, t_, labels_, output_;
  CapturedCopy inputs_, answer_;
  CapturedWork replay_;
};

class CapturedDenoiser {
 public:
  CapturedDenoiser(LabelledDenoiseFn denoise, const NetworkImpl& network,
                   std::optional<at::ScalarType> rounded_to)
      : denoise_(std::move(denoise)), rounded_to_(rounded_to), tensors_(network.parameters()) {
    const std::vector<Tensor> buffers = network.buffers();
    tensors_.insert(tensors_.end(), buffers.begin(), buffers.end());
  }

  Tensor operator()(const Tensor& x, const Tensor& t, const Tensor& labels) {
    if (!x.is_cuda() || c10::GradMode::is_enabled()) return denoise_(x, t, labels);
    forget_calls_if_weights_moved();
    return call_like(x, t, labels).run(denoise_, x, t, labels);
  }

 private:
  void forget_calls_if_weights_moved() {
    std::vector<const void*> places;
    places.reserve(tensors_.size());
    for (const Tensor& tensor : tensors_) places.push_back(tensor.const_data_ptr());
    if (places == places_) return;
    calls_.clear();
    places_ = std::move(places);
  }

  /// The one of that shape, which becomes the last.
  CapturedCall& call_like(const Tensor& x, const Tensor& t, const Tensor& labels) {
    for (auto call = calls_.begin(); call != calls_.end(); ++call) {
      if (!call->fits(x, t, labels)) continue;
      calls_.splice(calls_.end(), calls_, call);
      return calls_.back();
    }
    if (calls_.size() == kMaxGraphs) calls_.pop_front();
    return calls_.emplace_back(x, t, labels, rounded_to_);
  }

  LabelledDenoiseFn denoise_;
  std::optional<at::ScalarType> rounded_to_;
  std::vector<Tensor> tensors_;      ///< The network's own.
  std::vector<const void*> places_;  ///< Their storage when calls_ were captured.
  std::list<CapturedCall> calls_;
};

}  // namespace

LabelledDenoiseFn captured_denoise_fn(const LabelledDenoiseFn& denoise, const NetworkImpl& network,
                                      std::optional<at::ScalarType> rounded_to) {
  return [denoiser = std::make_shared<CapturedDenoiser>(denoise, network, rounded_to)](
             const Tensor& x_t, const Tensor& t, const Tensor& class_labels) {
    return (*denoiser)(x_t, t, class_labels);
  };
}

}  // namespace ddpm
