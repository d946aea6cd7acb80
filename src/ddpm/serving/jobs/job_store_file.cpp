#include "ddpm/serving/jobs/job_store_file.h"

#include <chrono>
#include <sqlite3.h>
#include <string>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr int64_t kApplicationId = 0x6464706d;  // "ddpm"
constexpr int64_t kVersion = 1;

int64_t number_of(SqliteFile& file, const std::string& text) {
  SqliteStatement statement = file.prepare(text);
  return statement.step() ? statement.integer(0) : 0;
}

void make_tables(SqliteFile& file) {
  file.transact([&] {
    file.run(
        "CREATE TABLE jobs(number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
        " record TEXT NOT NULL)");
    file.run(
        "CREATE TABLE images(job TEXT NOT NULL, image INTEGER NOT NULL,"
        " media_type TEXT NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY(job, image))");
    file.run("PRAGMA application_id = " + std::to_string(kApplicationId));
    file.run("PRAGMA user_version = " + std::to_string(kVersion));
  });
}

}  // namespace

bool is_damage(const SqliteError& error) {
  return error.code == SQLITE_CORRUPT || error.code == SQLITE_NOTADB;
}

void prepare_job_file(SqliteFile& file, const JobStoreOptions& options) {
  const bool is_new = number_of(file, "SELECT count(*) FROM sqlite_schema") == 0;
  if (is_new) make_tables(file);
  const std::string name = options.file.string();
  check_arg(number_of(file, "PRAGMA application_id") == kApplicationId, "[job_store] ", name,
            ": expected a file of kept jobs, or none yet, got another program's database");
  const int64_t version = number_of(file, "PRAGMA user_version");
  check_arg(version == kVersion, "[job_store] ", name, ": expected version ", kVersion, ", got ",
            version);
  SqliteStatement check = file.prepare("PRAGMA quick_check(1)");
  const std::string found = check.step() ? check.bytes(0) : "";
  if (found != "ok") throw SqliteError(SQLITE_CORRUPT, found);
  const int64_t page_bytes = number_of(file, "PRAGMA page_size");
  file.run("PRAGMA max_page_count = " + std::to_string(options.max_bytes / page_bytes));
  file.run("PRAGMA journal_size_limit = 16777216");
}

std::filesystem::path move_job_file_aside(const JobStoreOptions& options) {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(options.now().time_since_epoch());
  const std::string suffix = ".damaged-" + std::to_string(seconds.count());
  const std::filesystem::path to = options.file.string() + suffix;
  std::filesystem::rename(options.file, to);
  for (const char* beside : {"-wal", "-shm"}) {
    const std::filesystem::path from = options.file.string() + beside;
    if (std::filesystem::exists(from)) std::filesystem::rename(from, to.string() + beside);
  }
  return to;
}

}  // namespace ddpm
