#pragma once

#include <string>

namespace ddpm {

enum class LogLevel { kInfo, kWarn, kError, kOff };

/// One line to stderr each, with time and level: "12:30:01 warning: ...". Safe in any thread.
void log_info(const std::string& message);
void log_warn(const std::string& message);
void log_error(const std::string& message);

/// Lines below `level` are dropped; kInfo at the start.
void set_log_level(LogLevel level);

}  // namespace ddpm
