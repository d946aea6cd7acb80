#include "ddpm/core/progress.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ddpm/core/check.h"
#include "ddpm/core/resources.h"

namespace ddpm {
namespace {

constexpr int kBarWidth = 20;
constexpr double kRateWindowSeconds = 5;

double steady_seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

bool is_terminal(std::FILE* out) {
  const char* const kind = std::getenv("TERM");
  return isatty(fileno(out)) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

/// Columns of the terminal, 0 if it does not say.
size_t terminal_width(std::FILE* out) {
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

double default_interval(ProgressStyle style) {
  return style == ProgressStyle::kTerminal ? 0.1 : style == ProgressStyle::kPlain ? 10 : 1;
}

template <typename... Values>
std::string format(const char* pattern, Values... values) {
  std::string text(static_cast<size_t>(std::snprintf(nullptr, 0, pattern, values...)), ' ');
  std::snprintf(text.data(), text.size() + 1, pattern, values...);
  return text;
}

std::string bar(int64_t step, int64_t total) {
  const int64_t done = std::clamp<int64_t>(step * kBarWidth / total, 0, kBarWidth);
  std::string cells(kBarWidth, '-');
  std::fill_n(cells.begin(), done, '#');
  return c10::str("[", cells, "]");
}

}  // namespace

Progress::Progress(ProgressOptions options) : options_(std::move(options)) {
  check_arg(options_.total >= 1, "[Progress] total: expected at least 1, got ", options_.total);
  check_arg(options_.first_step >= 0 && options_.first_step <= options_.total,
            "[Progress] first_step: expected 0 to ", options_.total, ", got ", options_.first_step);
  if (options_.style == ProgressStyle::kAuto) {
    options_.style = is_terminal(options_.out) ? ProgressStyle::kTerminal : ProgressStyle::kPlain;
  }
  if (options_.interval_seconds <= 0) options_.interval_seconds = default_interval(options_.style);
  if (!options_.now_seconds) options_.now_seconds = steady_seconds;
  step_ = rate_step_ = options_.first_step;
  started_ = shown_ = rate_time_ = options_.now_seconds();
}

Progress::~Progress() {
  if (line_open_) std::fputc('\n', options_.out);
}

void Progress::update(int64_t step, const ProgressFields& fields) {
  step_ = step;
  if (options_.style == ProgressStyle::kNone) return;
  const double now = options_.now_seconds();
  if (now - rate_time_ >= kRateWindowSeconds) {
    rate_ = static_cast<double>(step_ - rate_step_) / (now - rate_time_);
    rate_step_ = step_;
    rate_time_ = now;
  }
  fields_ = fields;
  if (now - shown_ < options_.interval_seconds) return;
  shown_ = now;
  show("progress");
}

void Progress::finish() {
  if (options_.style == ProgressStyle::kNone || finished_) return;
  finished_ = true;
  show("finished");
  if (line_open_) std::fputc('\n', options_.out);
  line_open_ = false;
  std::fflush(options_.out);
}

void Progress::show(const std::string& event) {
  std::string text = options_.style == ProgressStyle::kJson ? json(event) : line();
  if (options_.style == ProgressStyle::kTerminal) {
    const size_t width = terminal_width(options_.out);
    if (width > 0 && text.size() >= width) text.resize(width - 1);  // a full line would wrap
    text = c10::str("\r", text, "\x1b[K");
    line_open_ = true;
  } else {
    text += "\n";
  }
  std::fputs(text.c_str(), options_.out);
  std::fflush(options_.out);
}

std::string Progress::line() const {
  const double rate = steps_per_second();
  const double left = static_cast<double>(options_.total - step_);
  std::string text = options_.label + " ";
  if (options_.style == ProgressStyle::kTerminal) text += bar(step_, options_.total) + " ";
  text +=
      format("%lld/%lld", static_cast<long long>(step_), static_cast<long long>(options_.total));
  text += rate > 0 && rate < 1 ? format("  %.1f s/step", 1 / rate) : format("  %.1f steps/s", rate);
  text += finished_ ? "  took " + format_duration(options_.now_seconds() - started_)
                    : "  ETA " + format_duration(left / rate);
  for (const auto& [name, value] : fields_) text += format("  %s %.4g", name.c_str(), value);
  text += format("  mem %.0f MiB", static_cast<double>(resident_memory_bytes()) / (1 << 20));
  return text;
}

std::string Progress::json(const std::string& event) const {
  const double rate = steps_per_second();
  nlohmann::ordered_json object{{"event", event},
                                {"label", options_.label},
                                {"step", step_},
                                {"total", options_.total},
                                {"rate", rate}};
  if (finished_) {
    object["elapsed_seconds"] = options_.now_seconds() - started_;
  } else {
    object["eta_seconds"] = static_cast<double>(options_.total - step_) / rate;  // inf becomes null
  }
  object["memory_bytes"] = resident_memory_bytes();
  for (const auto& [name, value] : fields_) object[name] = value;
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

double Progress::steps_per_second() const {
  const double elapsed = options_.now_seconds() - started_;
  const bool has_window = rate_time_ > started_ && !finished_;
  if (has_window) return rate_;
  return elapsed > 0 ? static_cast<double>(step_ - options_.first_step) / elapsed : 0;
}

std::string format_duration(double seconds) {
  constexpr double kLongest = 1e9;
  if (!(seconds >= 0 && seconds < kLongest)) return "?";
  const auto whole = static_cast<long long>(std::llround(seconds));
  const auto hours = whole / 3600;
  const auto minutes = whole / 60 % 60;
  if (hours == 0) return format("%lld:%02lld", minutes, whole % 60);
  return format("%lld:%02lld:%02lld", hours, minutes, whole % 60);
}

}  // namespace ddpm
