#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <sqlite3.h>
#include <stdexcept>
#include <string>
#include <utility>

#include "ddpm/core/log.h"
#include "ddpm/serving/jobs/job_record.h"
#include "ddpm/serving/jobs/job_store.h"
#include "ddpm/serving/jobs/job_store_file.h"
#include "ddpm/serving/jobs/sqlite_file.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

/// Whether a job is over and has the images that it says.
bool is_complete(const JobSnapshot& job) {
  const auto num_images = static_cast<int64_t>(job.images.size());
  return is_over(job.state) && num_images == job.progress.images_done;
}

/// A job that was cut short, back at its beginning.
JobSnapshot as_queued(const JobSnapshot& job) {
  JobSnapshot queued = begun_anew(job);
  if (job.state == JobState::kRunning) ++queued.interruptions;
  return queued;
}

class SqliteJobStore : public JobStore {
 public:
  explicit SqliteJobStore(JobStoreOptions options)
      : options_(std::move(options)), file_(options_.file) {
    prepare_job_file(file_, options_);
  }

  std::vector<JobSnapshot> load() override {
    std::vector<JobSnapshot> jobs;
    std::vector<JobId> cut_short, unreadable;
    write("load", [&] { jobs = read_jobs(cut_short, unreadable); });
    erase(unreadable);
    write("load", [&] {
      for (const JobId& id : cut_short) erase_images(id);
      file_.run("DELETE FROM images WHERE job NOT IN (SELECT id FROM jobs)");
    });
    return jobs;
  }

  void put(const JobSnapshot& job) override {
    write("put", [&] {
      const std::string record = job_record(job, options_.now());
      file_
          .prepare(
              "INSERT INTO jobs(id, record) VALUES(?, ?)"
              " ON CONFLICT(id) DO UPDATE SET record = excluded.record")
          .bind_text(job.id)
          .bind_text(record)
          .run();
    });
  }

  void put_image(const JobId& id, int64_t image, const JobImage& encoded) override {
    write("put_image", [&] {
      file_
          .prepare(
              "INSERT OR REPLACE INTO images(job, image, media_type, bytes)"
              " VALUES(?, ?, ?, ?)")
          .bind_text(id)
          .bind(image)
          .bind_text(encoded.media_type)
          .bind_blob(encoded.bytes)
          .run();
    });
  }

  void erase(const std::vector<JobId>& ids) override {
    write("erase", [&] {
      file_.transact([&] {
        for (const JobId& id : ids) {
          erase_images(id);
          file_.prepare("DELETE FROM jobs WHERE id = ?").bind_text(id).run();
        }
      });
    });
  }

  uint64_t num_failed_writes() const override {
    const std::lock_guard lock(mutex_);
    return num_failed_;
  }

 private:
  template <typename Action>
  void write(const char* what, const Action& action) {
    const std::lock_guard lock(mutex_);
    if (is_damaged_) {
      ++num_failed_;
      return;
    }
    try {
      action();
    } catch (const std::exception& error) {
      ++num_failed_;
      const auto* const known = dynamic_cast<const SqliteError*>(&error);
      is_damaged_ = known != nullptr && is_damage(*known);
      tell(what, error.what());
    }
  }

  /// A full disk fails every write: one line a minute says it.
  void tell(const char* what, const char* why) {
    const auto now = std::chrono::steady_clock::now();
    if (told_ && now - *told_ < std::chrono::minutes(1) && !is_damaged_) return;
    told_ = now;
    log_error(std::string("[job_store] ") + what +
              " failed, so jobs may not outlive this process (" + std::to_string(num_failed_) +
              " times up to now; " +
              (is_damaged_ ? "nothing more is written" : "the next write is tried") + "): " + why);
  }

  void erase_images(const JobId& id) {
    file_.prepare("DELETE FROM images WHERE job = ?").bind_text(id).run();
  }

  std::map<int64_t, std::shared_ptr<const JobImage>> read_images(const JobId& id) {
    std::map<int64_t, std::shared_ptr<const JobImage>> images;
    SqliteStatement rows =
        file_.prepare("SELECT image, media_type, bytes FROM images WHERE job = ?");
    rows.bind_text(id);
    while (rows.step()) {
      images[rows.integer(0)] = std::make_shared<const JobImage>(
          JobImage{.bytes = rows.bytes(2), .media_type = rows.bytes(1)});
    }
    return images;
  }

  std::vector<JobSnapshot> read_jobs(std::vector<JobId>& cut_short,
                                     std::vector<JobId>& unreadable) {
    std::vector<JobSnapshot> jobs;
    SqliteStatement rows = file_.prepare("SELECT id, record FROM jobs ORDER BY number");
    while (rows.step()) {
      const JobId id = rows.bytes(0);
      try {
        JobSnapshot job = parse_job_record(rows.bytes(1), options_.now());
        job.images = read_images(id);
        if (!is_complete(job)) cut_short.push_back(id);
        jobs.push_back(is_complete(job) ? job : as_queued(job));
      } catch (const std::runtime_error& error) {
        if (dynamic_cast<const SqliteError*>(&error) != nullptr) throw;
        log_error("[job_store] job " + id + " is left out: " + error.what());
        unreadable.push_back(id);
      }
    }
    return jobs;
  }

  const JobStoreOptions options_;
  mutable std::mutex mutex_;  // of all that follows
  SqliteFile file_;
  uint64_t num_failed_ = 0;
  bool is_damaged_ = false;
  std::optional<std::chrono::steady_clock::time_point> told_ = {};
};

}  // namespace

bool has_job_store() { return true; }

std::unique_ptr<JobStore> open_job_store(const JobStoreOptions& options) {
  const std::string name = options.file.string();
  try {
    try {
      return std::make_unique<SqliteJobStore>(options);
    } catch (const SqliteError& error) {
      if (!is_damage(error)) throw;
      const fs::path aside = move_job_file_aside(options);
      log_error("[job_store] " + name + " is damaged (" + error.what() + "): it is now " +
                aside.string() + ", and a new one begins without the jobs in it");
      return std::make_unique<SqliteJobStore>(options);
    }
  } catch (const SqliteError& error) {
    const std::string why = error.code == SQLITE_BUSY
                                ? "another process has it open"
                                : "SQLite says '" + std::string(error.what()) + "'";
    throw std::runtime_error("[job_store] " + name +
                             ": expected a file to keep jobs in, got none: " + why);
  }
}

}  // namespace ddpm
