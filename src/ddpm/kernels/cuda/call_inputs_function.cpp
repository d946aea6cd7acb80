#include "ddpm/kernels/cuda/call_inputs_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <limits>

#include "ddpm/kernels/cuda/call_inputs_kernels.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

bool is_of_known_dtype(const Tensor& map) {
  return map.scalar_type() == at::kFloat || map.scalar_type() == at::kBFloat16;
}

/// Bytes for bytes, of whole words.
bool is_dense_copy(const Tensor& from, const Tensor& to) {
  if (!from.defined() || !to.defined()) return !from.defined() && !to.defined();
  return from.device() == to.device() && from.scalar_type() == to.scalar_type() &&
         from.sizes() == to.sizes() && from.is_contiguous() && to.is_contiguous() &&
         from.element_size() % sizeof(uint32_t) == 0;
}

WordsCopy words_of(const Tensor& from, const Tensor& to) {
  if (!from.defined()) return {};
  return {.from = static_cast<const uint32_t*>(from.const_data_ptr()),
          .to = static_cast<uint32_t*>(to.mutable_data_ptr()),
          .words = static_cast<int64_t>(from.nbytes() / sizeof(uint32_t))};
}

MapCopy map_of(const Tensor& from, const Tensor& to) {
  return {.images = static_cast<int>(from.size(0)),
          .height = static_cast<int>(from.size(2)),
          .width = static_cast<int>(from.size(3)),
          .channels = static_cast<int>(from.size(1)),
          .image_stride = from.stride(0),
          .channel_stride = from.stride(1),
          .row_stride = from.stride(2),
          .column_stride = from.stride(3),
          .from = from.const_data_ptr(),
          .to = to.mutable_data_ptr(),
          .from_bf16 = from.scalar_type() == at::kBFloat16,
          .to_bf16 = to.scalar_type() == at::kBFloat16};
}

CallCopy copy_of(const CallInputs& from, const CallInputs& to) {
  return {.map = map_of(from.x, to.x),
          .t = words_of(from.t, to.t),
          .labels = words_of(from.class_labels, to.class_labels)};
}

}  // namespace

bool copies_call_inputs_at_once(const CallInputs& from, const CallInputs& to) {
  const Tensor &x = from.x, &into = to.x;
  return x.is_cuda() && x.device() == into.device() && x.dim() == 4 && x.sizes() == into.sizes() &&
         x.numel() > 0 && x.numel() <= std::numeric_limits<int>::max() && is_of_known_dtype(x) &&
         is_of_known_dtype(into) && into.is_contiguous(at::MemoryFormat::ChannelsLast) &&
         is_dense_copy(from.t, to.t) && is_dense_copy(from.class_labels, to.class_labels);
}

void copy_call_inputs_at_once(const CallInputs& from, const CallInputs& to) {
  const c10::cuda::CUDAGuard guard(from.x.device());
  C10_CUDA_CHECK(copy_call_inputs(copy_of(from, to), c10::cuda::getCurrentCUDAStream()));
}

std::unique_ptr<CapturedCallCopy> CapturedCallCopy::of_last_launch(const CallInputs& from,
                                                                   const CallInputs& to) {
  const auto stream = c10::cuda::getCurrentCUDAStream(from.x.device().index());
  const auto launch = CapturedLaunch::last_of(stream);
  if (!launch) return nullptr;
  return std::unique_ptr<CapturedCallCopy>(new CapturedCallCopy(*launch, copy_of(from, to)));
}

void CapturedCallCopy::rebind(CudaGraph& graph, const CallInputs& from, const CallInputs& to) {
  CallCopy copy = copy_of(from, to);
  if (copy == bound_) return;  // asking CUDA takes longer
  void* arguments[] = {&copy};
  launch_.set_arguments(graph, arguments);
  bound_ = copy;
}

}  // namespace ddpm::cuda
