#pragma once

#include <filesystem>

#include "ddpm/serving/jobs/job_store.h"
#include "ddpm/serving/jobs/sqlite_file.h"

namespace ddpm {

/// Whether an error means that the file's content is no longer what was written.
bool is_damage(const SqliteError& error);

/// Makes the tables of a new file.
///
/// @throws std::invalid_argument if the file is another program's or another version's.
/// @throws SqliteError           if it is damaged.
void prepare_job_file(SqliteFile& file, const JobStoreOptions& options);

/// Gives the file and what SQLite keeps beside it another name, which is returned.
std::filesystem::path move_job_file_aside(const JobStoreOptions& options);

}  // namespace ddpm
