#include <stdexcept>

#include "ddpm/serving/jobs/job_store.h"

// In a build without SQLite.
namespace ddpm {

bool has_job_store() { return false; }

std::unique_ptr<JobStore> open_job_store(const JobStoreOptions& /*options*/) {
  throw std::invalid_argument(
      "[job_store] expected a build with SQLite, which keeps jobs (install libsqlite3-dev and "
      "build "
      "again), got one without");
}

}  // namespace ddpm
