#include "ddpm/serving/jobs/sqlite_file.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

namespace ddpm {

SqliteStatement::SqliteStatement(sqlite3* database, std::string_view text) : database_(database) {
  sqlite3_stmt* statement = nullptr;
  check(sqlite3_prepare_v2(database, text.data(), static_cast<int>(text.size()), &statement,
                           /*pzTail=*/nullptr));
  statement_.reset(statement);
}

void SqliteStatement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

void SqliteStatement::check(int code) const {
  if (code != SQLITE_OK) throw SqliteError(code, sqlite3_errmsg(database_));
}

SqliteStatement& SqliteStatement::bind(int64_t value) {
  check(sqlite3_bind_int64(statement_.get(), ++num_bound_, value));
  return *this;
}

SqliteStatement& SqliteStatement::bind_text(std::string_view text) {
  check(sqlite3_bind_text64(statement_.get(), ++num_bound_, text.data(), text.size(), SQLITE_STATIC,
                            SQLITE_UTF8));
  return *this;
}

SqliteStatement& SqliteStatement::bind_blob(std::string_view bytes) {
  check(sqlite3_bind_blob64(statement_.get(), ++num_bound_, bytes.data(), bytes.size(),
                            SQLITE_STATIC));
  return *this;
}

bool SqliteStatement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) throw SqliteError(code, sqlite3_errmsg(database_));
  return false;
}

int64_t SqliteStatement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string SqliteStatement::bytes(int column) const {
  const auto* const begin = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  const int size_bytes = sqlite3_column_bytes(statement_.get(), column);
  return begin == nullptr ? std::string() : std::string(begin, static_cast<size_t>(size_bytes));
}

SqliteFile::SqliteFile(const std::filesystem::path& file) {
  // SQLite gives what it makes beside the file the file's own rights.
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor >= 0) ::close(descriptor);
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &database,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, /*zVfs=*/nullptr);
  database_.reset(database);
  if (code != SQLITE_OK) throw SqliteError(code, sqlite3_errmsg(database));
  run("PRAGMA locking_mode = EXCLUSIVE");
  run("PRAGMA journal_mode = WAL");
  run("PRAGMA synchronous = NORMAL");  // survives the process at any time, and the machine's end
                                       // but for its last moments
  run("PRAGMA trusted_schema = OFF");
}

void SqliteFile::Close::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

void SqliteFile::transact(const std::function<void()>& action) {
  run("BEGIN IMMEDIATE");
  try {
    action();
    run("COMMIT");
  } catch (...) {
    // SQLite has rolled back already where it is full or can't read or write.
    if (sqlite3_get_autocommit(database_.get()) == 0) run("ROLLBACK");
    throw;
  }
}

}  // namespace ddpm
