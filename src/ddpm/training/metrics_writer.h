#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/training/append_file.h"
#include "ddpm/training/event_file.h"

namespace ddpm {

/// The numbers of one logged step, in the order in which they are written. A value that is not
/// finite stands for "none": null in JSON, an empty cell in CSV, left out of the events.
using MetricRow = std::vector<std::pair<std::string, double>>;

/// Writes a run's metrics three times: metrics.jsonl (one object a line), metrics.csv and
/// TensorBoard events in tensorboard/. A written row survives the end of the process.
class MetricsWriter {
 public:
  /// @param folder       the run folder; it must exist.
  /// @param resumed_step 0: a new run, whose files start empty. Otherwise rows of later steps, and
  ///                     a last line that was cut short, are removed; events go to a new file that
  ///                     voids the old ones of later steps.
  /// @throws std::runtime_error if a file can't be read or written, or holds what is no metrics.
  MetricsWriter(const std::string& folder, int64_t resumed_step);

  /// Appends a row, "step" first.
  /// @throws std::invalid_argument if the names differ from those of the file's other rows.
  /// @throws std::runtime_error if a file can't be written (disk full); none holds half a row.
  void write(int64_t step, const MetricRow& row);

  /// Adds a picture to the events. @throws std::runtime_error if it can't be written.
  void write_image(int64_t step, const std::string& tag, const EventPicture& picture);

 private:
  std::string csv_header_;
  std::unique_ptr<AppendFile> jsonl_;
  std::unique_ptr<AppendFile> csv_;
  std::unique_ptr<EventFile> events_;
};

}  // namespace ddpm
