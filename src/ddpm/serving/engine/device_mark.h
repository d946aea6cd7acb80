#pragma once

#include <c10/core/Event.h>

#include <functional>
#include <memory>
#include <optional>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// A point in what a device does: behind the work that was queued until it was made.
class DeviceMark {
 public:
  virtual ~DeviceMark() = default;
  virtual bool is_reached() const = 0;
  virtual void wait() const = 0;
  /// From the mark that was made before it to this one, by the device's clock, once this one is
  /// reached. Nothing for the first one of a device.
  virtual std::optional<double> seconds() const = 0;
};

/// Makes a mark; null for a CPU, which is never behind.
using MarkDevice = std::function<std::shared_ptr<const DeviceMark>(at::Device)>;

/// Marks by events on the current stream, which take the time.
class EventMarks {
 public:
  std::shared_ptr<const DeviceMark> operator()(at::Device device);

 private:
  std::shared_ptr<const c10::Event> last_;
  at::Device device_of_last_ = at::kCPU;
};

}  // namespace ddpm
