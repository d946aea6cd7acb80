#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace ddpm {

/// kAuto: kTerminal if `out` is a terminal, else kPlain.
enum class ProgressStyle { kAuto, kTerminal, kPlain, kJson, kNone };

/// Values shown after the rate, in this order: {{"loss", 0.021}}.
using ProgressFields = std::vector<std::pair<std::string, double>>;

struct ProgressOptions {
  int64_t total = 0;       ///< steps in all
  int64_t first_step = 0;  ///< steps that are done before this process starts (resume)
  std::string label = {};  ///< "train"
  ProgressStyle style = ProgressStyle::kAuto;
  std::FILE* out = stderr;
  double interval_seconds = 0;  ///< least time between two outputs; 0: what suits the style
  std::function<double()> now_seconds = {};  ///< a clock that never goes back; empty: the system's
};

/// Shows how far a loop is. A terminal gets one line that is redrawn, with rate, time left, fields
/// and memory; a file gets plain lines at intervals; kJson one object a line:
///
///     {"event":"progress","label":"train","step":50,"total":200,"rate":3.1,"eta_seconds":48.4,
///      "memory_bytes":812000000,"loss":0.021}
///
/// and a last one with "event":"finished" and "elapsed_seconds". Not for several threads.
class Progress {
 public:
  /// @throws std::invalid_argument if total < 1 or first_step is not in [0, total].
  explicit Progress(ProgressOptions options);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `step` steps are done. Cheap when it is not yet time to show anything.
  void update(int64_t step, const ProgressFields& fields = {});

  /// Shows the last state and ends the line. Called once; the destructor only ends the line.
  void finish();

 private:
  void show(const std::string& event);
  std::string line() const;
  std::string json(const std::string& event) const;
  double steps_per_second() const;

  ProgressOptions options_;
  ProgressFields fields_;
  int64_t step_;
  double started_;
  double shown_;
  double rate_ = 0;
  int64_t rate_step_;
  double rate_time_;
  bool line_open_ = false;
  bool finished_ = false;
};

/// "1:02:03" or "2:03"; "?" for a time that is not finite.
std::string format_duration(double seconds);

}  // namespace ddpm
