#include "ddpm/serving/jobs/job_log.h"

#include <algorithm>
#include <utility>

namespace ddpm {
namespace {

/// Whether `later` says all that still counts of `earlier`.
bool replaces(const JobEvent& later, const JobEvent& earlier) {
  using enum JobEvent::Kind;
  if (earlier.kind == kProgress) return later.kind == kProgress || later.kind == kEnd;
  if (earlier.kind != kPreview) return false;
  const bool is_of_its_image = later.image == earlier.image;
  return later.kind == kEnd ||
         (is_of_its_image && (later.kind == kPreview || later.kind == kImage));
}

}  // namespace

void JobLog::add(JobEvent event) {
  event.number = ++last_number_;
  std::erase_if(events_, [&](const JobEvent& earlier) { return replaces(event, earlier); });
  events_.push_back(std::move(event));
}

std::vector<JobEvent> JobLog::after(uint64_t number) const {
  const auto first =
      std::upper_bound(events_.begin(), events_.end(), number,
                       [](uint64_t n, const JobEvent& event) { return n < event.number; });
  return {first, events_.end()};
}

}  // namespace ddpm
