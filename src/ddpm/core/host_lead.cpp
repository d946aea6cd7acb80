#include "ddpm/core/host_lead.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace ddpm {

void HostLead::wait() {
  while (launched_.size() >= steps_) {
    launched_.front().synchronize();
    launched_.pop_front();
  }
}

void HostLead::mark() {
  if (device_.is_cpu()) return;
  const c10::impl::VirtualGuardImpl device(device_.type());
  launched_.emplace_back(device_.type()).record(device.getStream(device_));
}

}  // namespace ddpm
