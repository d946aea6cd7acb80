#include "ddpm/serving/engine/device_mark.h"

#include <utility>

#include "ddpm/core/current_stream.h"

namespace ddpm {
namespace {

constexpr double kSecondsPerMillisecond = 1e-3;

class EventMark : public DeviceMark {
 public:
  /// @param before null: none.
  EventMark(std::shared_ptr<const c10::Event> before, std::shared_ptr<const c10::Event> event)
      : before_(std::move(before)), event_(std::move(event)) {}

  bool is_reached() const override { return event_->query(); }
  void wait() const override { event_->synchronize(); }
  std::optional<double> seconds() const override {
    if (before_ == nullptr) return std::nullopt;
    return before_->elapsedTime(*event_) * kSecondsPerMillisecond;
  }

 private:
  std::shared_ptr<const c10::Event> before_;
  std::shared_ptr<const c10::Event> event_;
};

}  // namespace

std::shared_ptr<const DeviceMark> EventMarks::operator()(at::Device device) {
  if (device.is_cpu()) return nullptr;
  const auto event = std::make_shared<c10::Event>(
      device.type(), c10::EventFlag::BACKEND_DEFAULT);  // the default ones take no time
  event->record(current_stream(device));
  auto before = std::exchange(last_, event);
  const bool is_same = std::exchange(device_of_last_, device) == device;
  return std::make_shared<EventMark>(is_same ? std::move(before) : nullptr, event);
}

}  // namespace ddpm
