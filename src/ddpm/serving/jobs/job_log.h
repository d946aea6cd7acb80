#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// A job's events, for readers that come late or come back: each reads on from the number that it
/// has. Only what still counts is kept: of progress the newest, of previews the newest of each
/// image that has not ended. So a log stays small, and a slow reader misses what is out of date
/// but no state, image or end.
class JobLog {
 public:
  /// Gives the event its number and keeps it.
  void add(JobEvent event);

  /// Those with a greater number, in their order.
  std::vector<JobEvent> after(uint64_t number) const;

  uint64_t last_number() const { return last_number_; }

 private:
  std::deque<JobEvent> events_;
  uint64_t last_number_ = 0;
};

}  // namespace ddpm
