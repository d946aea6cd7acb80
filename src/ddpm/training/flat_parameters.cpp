#include "ddpm/training/flat_parameters.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/pipeline/precision.h"

namespace ddpm {
namespace {

constexpr int64_t kAlignment = 64;  // elements: whole cache lines, in bfloat16 too

int64_t aligned(int64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

std::string join(const std::string& module, const std::string& name) {
  return module.empty() ? name : module + "." + name;
}

void copy_checked(const std::string& name, const Tensor& source, Tensor target) {
  check_arg(source.sizes() == target.sizes(), "[FlatParameters] tensor '", name,
            "' must have the network's shape: expected ", target.sizes(), ", got ", source.sizes());
  target.copy_(source);
}

std::map<std::string, Tensor> by_name(const NamedTensors& tensors) {
  return {tensors.begin(), tensors.end()};
}

Tensor take(std::map<std::string, Tensor>& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  check_arg(found != tensors.end(), "[FlatParameters] tensor '", name, "' is missing");
  Tensor tensor = found->second;
  tensors.erase(found);
  return tensor;
}

void check_all_taken(const std::map<std::string, Tensor>& tensors) {
  check_arg(tensors.empty(), "[FlatParameters] the network has no tensor '",
            tensors.empty() ? "" : tensors.begin()->first, "'");
}

}  // namespace

FlatParameters::FlatParameters(std::shared_ptr<NetworkImpl> network, Precision precision,
                               int64_t accumulation)
    : network_(std::move(network)) {
  const at::NoGradGuard no_grad;
  list_slots();
  check_arg(num_weights_ > 0, "[FlatParameters] the network has no trainable weights");
  const auto device = slots_.front().tensor.device();
  const auto float32 = at::TensorOptions(at::kFloat).device(device);
  master_ = at::zeros({num_weights_}, float32);
  buffers_ = at::zeros({num_statistics_}, float32);
  if (dtype_of(precision) != at::kFloat) {
    weights_ = at::zeros({num_weights_}, float32.dtype(dtype_of(precision)));
  }
  const Tensor& computes_with = weights_.defined() ? weights_ : master_;
  grad_ = at::zeros_like(accumulation > 1 ? master_ : computes_with);
  if (accumulation > 1) part_grad_ = at::zeros_like(computes_with);
  for (const Slot& slot : slots_) {
    if (slot.kind == Kind::kParameter) view_of(slot, master_).copy_(slot.tensor);
    if (slot.kind == Kind::kBuffer) view_of(slot, buffers_).copy_(slot.tensor);
  }
  refresh_weights();
  use_trained();
  gather_.emplace(leaves());
}

void FlatParameters::list_slots() {
  const auto place = [](int64_t& end, const Tensor& tensor) {
    const int64_t offset = end;
    end += aligned(tensor.numel());
    return offset;
  };
  for (const auto& module : network_->named_modules(/*name_prefix=*/"")) {
    for (const auto& item : module.value()->named_parameters(/*recurse=*/false)) {
      const std::string name = join(module.key(), item.key());
      check_arg(item->scalar_type() == at::kFloat, "[FlatParameters] weights must be float32: '",
                name, "' is ", item->scalar_type());
      Slot slot{.name = name, .tensor = item.value()};
      if (item->requires_grad()) {
        slot.kind = Kind::kParameter;
        slot.offset = place(num_weights_, *item);
      }
      slots_.push_back(slot);
    }
    for (const auto& item : module.value()->named_buffers(/*recurse=*/false)) {
      Slot slot{.name = join(module.key(), item.key()), .tensor = item.value()};
      if (item->scalar_type() == at::kFloat) {
        slot.kind = Kind::kBuffer;
        slot.offset = place(num_statistics_, *item);
      }
      slots_.push_back(slot);
    }
  }
}

std::vector<Tensor> FlatParameters::leaves() const {
  std::vector<Tensor> leaves;
  for (const Slot& slot : slots_) {
    if (slot.kind == Kind::kParameter) leaves.push_back(slot.tensor);
  }
  return leaves;
}

Tensor FlatParameters::view_of(const Slot& slot, const Tensor& flat) {
  const auto sizes = slot.tensor.sizes();
  const Tensor part = flat.narrow(/*dim=*/0, slot.offset, slot.tensor.numel());
  if (sizes.size() != 4) return part.view(sizes);
  return part.view({sizes[0], sizes[2], sizes[3], sizes[1]}).permute({0, 3, 1, 2});
}

void FlatParameters::bind(const Tensor& weights, const Tensor& flat_buffers) {
  for (Slot& slot : slots_) {
    if (slot.kind == Kind::kParameter) slot.tensor.set_data(view_of(slot, weights));
    if (slot.kind == Kind::kBuffer) slot.tensor.set_data(view_of(slot, flat_buffers));
  }
}

void FlatParameters::use(const Tensor& flat, const Tensor& flat_buffers) {
  bind(weights_.defined() ? flat.to(at::kBFloat16) : flat, flat_buffers);
}

void FlatParameters::use_trained() { bind(weights_.defined() ? weights_ : master_, buffers_); }

void FlatParameters::drop_grad() { gather_->drop(); }

void FlatParameters::begin_gather(bool is_first) {
  is_first_ = is_first;
  std::vector<Tensor> targets;
  for (const Slot& slot : slots_) {
    if (slot.kind != Kind::kParameter) continue;
    targets.push_back(view_of(slot, is_first ? grad_ : part_grad_));
  }
  gather_->begin(std::move(targets));
}

void FlatParameters::end_gather() {
  const at::NoGradGuard no_grad;
  gather_->end();
  if (!is_first_) grad_.add_(part_grad_);
}

void FlatParameters::refresh_weights() {
  if (weights_.defined()) weights_.copy_(master_);
}

NamedTensors FlatParameters::named_state(const Tensor& flat, const Tensor& flat_buffers) const {
  NamedTensors tensors;
  for (const Slot& slot : slots_) {
    const Tensor values = slot.kind == Kind::kParameter ? view_of(slot, flat)
                          : slot.kind == Kind::kBuffer  ? view_of(slot, flat_buffers)
                                                        : slot.tensor.detach();
    tensors.emplace_back(slot.name, values.clone(at::MemoryFormat::Contiguous));
  }
  return tensors;
}

NamedTensors FlatParameters::named_parameters(const Tensor& flat) const {
  NamedTensors tensors;
  for (const Slot& slot : slots_) {
    if (slot.kind != Kind::kParameter) continue;
    tensors.emplace_back(slot.name, view_of(slot, flat).clone(at::MemoryFormat::Contiguous));
  }
  return tensors;
}

void FlatParameters::assign_state(const NamedTensors& tensors, Tensor flat, Tensor flat_buffers) {
  const at::NoGradGuard no_grad;
  auto remaining = by_name(tensors);
  for (const Slot& slot : slots_) {
    const Tensor target = slot.kind == Kind::kParameter ? view_of(slot, flat)
                          : slot.kind == Kind::kBuffer  ? view_of(slot, flat_buffers)
                                                        : slot.tensor;
    copy_checked(slot.name, take(remaining, slot.name), target);
  }
  check_all_taken(remaining);
}

void FlatParameters::assign_parameters(const NamedTensors& tensors, Tensor flat) const {
  const at::NoGradGuard no_grad;
  auto remaining = by_name(tensors);
  for (const Slot& slot : slots_) {
    if (slot.kind != Kind::kParameter) continue;
    copy_checked(slot.name, take(remaining, slot.name), view_of(slot, flat));
  }
  check_all_taken(remaining);
}

}  // namespace ddpm
