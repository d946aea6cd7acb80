#include "ddpm/serving/jobs/job.h"

#include <random>

namespace ddpm {

JobId random_job_id() {
  constexpr const char* kDigits = "0123456789abcdefghjkmnpqrstvwxyz";
  constexpr int kNumDigits = 26;  // of 5 bits: 128 and two more
  static thread_local std::random_device device;
  JobId id;
  uint64_t bits = 0;
  int num_bits = 0;
  while (id.size() < kNumDigits) {
    if (num_bits < 5) {
      bits |= uint64_t{device()} << num_bits;
      num_bits += 32;
    }
    id.push_back(kDigits[bits & 31]);
    bits >>= 5;
    num_bits -= 5;
  }
  return id;
}

JobSnapshot begun_anew(const JobSnapshot& job) {
  JobSnapshot queued;
  queued.id = job.id;
  queued.request = job.request;
  queued.progress.num_images = job.progress.num_images;
  queued.created = job.created;
  queued.restarts = job.restarts;
  queued.interruptions = job.interruptions;
  return queued;
}

int64_t result_bytes_of(const JobSnapshot& job) {
  std::size_t size_bytes = 0;
  for (const auto& [number, image] : job.images) size_bytes += image->bytes.size();
  for (const auto& frame : job.trace) {
    size_bytes += frame->x_t.size() + frame->eps.size() + frame->pred_x_start.size();
  }
  return static_cast<int64_t>(size_bytes);
}

}  // namespace ddpm
