#include "ddpm/core/device_upload.h"

#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "ddpm/core/check.h"
#include "ddpm/core/current_stream.h"

namespace ddpm {
namespace {

constexpr int64_t kPartAlignment = 256;  // what an allocation of its own would have

}  // namespace

const std::vector<Tensor>& DeviceUpload::send(at::ArrayRef<Tensor> values) {
  for (const Tensor& value : values) {
    check_arg(value.is_cpu(), "[DeviceUpload] values must be on the CPU, got one on ",
              value.device());
  }
  if (!block_.defined()) place(values);
  check_values(values);
  if (device_.is_cpu()) {
    for (size_t i = 0; i < values.size(); ++i) tensors_[i].copy_(values[i]);
    return tensors_;
  }
  Staging& staging = *staging_[next_];
  next_ = (next_ + 1) % staging_.size();
  staging.sent.synchronize();
  for (size_t i = 0; i < values.size(); ++i) staging.into[i].copy_(values[i]);
  {
    const c10::StreamGuard guard(*copy_stream_);
    staging.taken.block(*copy_stream_);
    staging.device.copy_(staging.host, /*non_blocking=*/true);
    staging.sent.record(*copy_stream_);
  }
  const c10::Stream stream = current_stream(device_);
  staging.sent.block(stream);
  block_.copy_(staging.device, /*non_blocking=*/true);
  staging.taken.record(stream);
  return tensors_;
}

void DeviceUpload::place(at::ArrayRef<Tensor> values) {
  places_.clear();
  size_bytes_ = 0;
  for (const Tensor& value : values) {
    const Tensor like = at::empty_like(value);  // dense, of the value's strides if it is
    places_.push_back({.first_byte = size_bytes_,
                       .dtype = value.scalar_type(),
                       .sizes = like.sizes().vec(),
                       .strides = like.strides().vec()});
    const auto bytes = static_cast<int64_t>(value.nbytes());
    size_bytes_ += (bytes + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
  }
  block_ = at::empty({size_bytes_}, at::TensorOptions(at::kByte).device(device_));
  tensors_ = parts_of(block_);
  if (device_.is_cpu()) return;
  // Work that is captured has streams of the other priority.
  copy_stream_ = c10::impl::VirtualGuardImpl(device_.type())
                     .getStreamFromGlobalPool(device_, /*isHighPriority=*/true);
  for (std::optional<Staging>& staging : staging_) staging.emplace(make_staging());
}

std::vector<Tensor> DeviceUpload::parts_of(const Tensor& block) const {
  std::vector<Tensor> parts;
  for (const Place& place : places_) {
    const auto item = static_cast<int64_t>(c10::elementSize(place.dtype));
    parts.push_back(
        block.view(place.dtype).as_strided(place.sizes, place.strides, place.first_byte / item));
  }
  return parts;
}

DeviceUpload::Staging DeviceUpload::make_staging() const {
  const Tensor host = at::empty({size_bytes_}, at::TensorOptions(at::kByte).pinned_memory(true));
  Staging staging{.host = host,
                  .into = parts_of(host),
                  .device = at::empty_like(block_),
                  .sent = c10::Event(device_.type()),
                  .taken = c10::Event(device_.type())};
  // What had the block's memory before may still run.
  staging.taken.record(current_stream(device_));
  return staging;
}

void DeviceUpload::check_values(at::ArrayRef<Tensor> values) const {
  check_arg(values.size() == places_.size(),
            "[DeviceUpload] sends must bring the same tensors: expected ", places_.size(),
            " values, got ", values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const Place& place = places_[i];
    check_arg(values[i].is_cpu() && values[i].scalar_type() == place.dtype &&
                  values[i].sizes() == place.sizes,
              "[DeviceUpload] sends must bring the same tensors: expected value ", i, " to be ",
              at::IntArrayRef(place.sizes), " ", place.dtype, " on the CPU, got ",
              values[i].sizes(), " ", values[i].scalar_type(), " on ", values[i].device());
  }
}

}  // namespace ddpm
