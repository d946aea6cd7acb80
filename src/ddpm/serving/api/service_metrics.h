#pragma once

#include <string>

#include "ddpm/serving/engine/engine_stats.h"
#include "ddpm/serving/jobs/jobs.h"

namespace ddpm {

/// The engine in Prometheus' text format: docs/operations.md has the list.
std::string engine_metrics(const EngineStats& stats);

/// Jobs, their results and their store.
std::string jobs_metrics(const JobsStats& stats);

/// This process: memory, open files, start; and the program's version.
std::string process_metrics(const std::string& version);

}  // namespace ddpm
