#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// Where jobs outlive the process. Any thread may call; nothing throws: a store that can't write
/// says so in the log, counts it, and goes on, because jobs are served from memory.
class JobStore {
 public:
  virtual ~JobStore() = default;

  /// Everything kept, oldest first, with its images. A job that is over has all its images; of one
  /// that was cut short there are none. Once, before all else.
  virtual std::vector<JobSnapshot> load() = 0;

  /// Keeps a job as it stands, but not its images.
  virtual void put(const JobSnapshot& job) = 0;
  /// Keeps an image of a job that is kept.
  virtual void put_image(const JobId& id, int64_t image, const JobImage& encoded) = 0;
  /// Forgets jobs and their images.
  virtual void erase(const std::vector<JobId>& ids) = 0;

  /// Writes that failed since the start.
  virtual uint64_t num_failed_writes() const = 0;
};

struct JobStoreOptions {
  std::filesystem::path file;
  int64_t max_bytes = int64_t{512} << 20;  ///< Of the file; what comes beyond is not kept.
  /// What the time is: deadlines are kept by it.
  std::function<JobClock::time_point()> now = [] { return JobClock::now(); };
};

/// Whether this build can keep jobs: it needs SQLite.
bool has_job_store();

/// A store in an SQLite file, made if it is not there, that only its owner can read. It loses no
/// committed write when the process is killed. A damaged file is moved aside, to
/// FILE.damaged-SECONDS, and said so in the log; a new one begins.
///
/// @throws std::invalid_argument if this build has no SQLite, or the file is another program's or
///         another version's.
/// @throws std::runtime_error if it can't be opened, or another process has it.
std::unique_ptr<JobStore> open_job_store(const JobStoreOptions& options);

}  // namespace ddpm
