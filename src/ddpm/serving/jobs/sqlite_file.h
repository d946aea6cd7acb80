#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace ddpm {

/// What SQLite refused.
class SqliteError : public std::runtime_error {
 public:
  SqliteError(int error_code, const std::string& message)
      : std::runtime_error(message), code(error_code) {}

  int code;  ///< SQLITE_FULL, SQLITE_CORRUPT, ..
};

/// A prepared statement with its values bound.
class SqliteStatement {
 public:
  /// @throws SqliteError if it does not compile.
  SqliteStatement(sqlite3* database, std::string_view text);

  /// Binds the next ?; text and blobs must live until the statement has run.
  SqliteStatement& bind(int64_t value);
  SqliteStatement& bind_text(std::string_view text);
  SqliteStatement& bind_blob(std::string_view bytes);

  /// Whether there is a row, from now on the current one.
  ///
  /// @throws SqliteError if it fails.
  bool step();
  /// For statements without rows.
  void run() {
    while (step()) {
    }
  }
  int64_t integer(int column) const;
  std::string bytes(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  void check(int code) const;

  sqlite3* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int num_bound_ = 0;
};

/// An open SQLite file that no other process can have; one thread at a time.
class SqliteFile {
 public:
  /// Opens the file, or makes it, for its owner alone.
  ///
  /// @throws SqliteError if it can't be opened, is in use, or is no database.
  explicit SqliteFile(const std::filesystem::path& file);

  SqliteStatement prepare(std::string_view text) { return {database_.get(), text}; }
  void run(std::string_view text) { prepare(text).run(); }

  /// Does all of the action or, if it throws, nothing.
  void transact(const std::function<void()>& action);

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace ddpm
