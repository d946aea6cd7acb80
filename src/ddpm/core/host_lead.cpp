#include "ddpm/core/host_lead.h"

#include "ddpm/core/current_stream.h"

namespace ddpm {

void HostLead::wait() {
  while (launched_.size() >= steps_) {
    launched_.front().synchronize();
    launched_.pop_front();
  }
}

void HostLead::mark() {
  if (device_.is_cpu()) return;
  launched_.emplace_back(device_.type()).record(current_stream(device_));
}

}  // namespace ddpm
