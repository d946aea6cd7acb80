#include "ddpm/training/metrics_writer.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>

#include "ddpm/core/check.h"
#include "ddpm/core/file.h"
#include "ddpm/core/padded_number.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
constexpr const char* kJsonStart = "{\"step\": ";

// The shortest text that reads back as the same double.
std::string shortest(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

std::optional<int64_t> leading_step(const std::string& text) {
  int64_t step = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  if (error != std::errc()) return std::nullopt;
  if (end == text.data() + text.size() || (*end != ',' && *end != '}')) return std::nullopt;
  return step;
}

std::optional<int64_t> json_step(const std::string& line) {
  if (!line.starts_with(kJsonStart)) return std::nullopt;
  return leading_step(line.substr(std::string(kJsonStart).size()));
}

// Keeps `header_lines` lines and the rows up to `last_step`. A line without an end was cut short.
void cut_after(const std::string& path, int64_t last_step, size_t header_lines,
               const std::function<std::optional<int64_t>(const std::string&)>& step_of) {
  if (!fs::exists(path)) return;
  const std::string text = read_text_file(path);
  std::string kept;
  size_t line_number = 0;
  for (size_t start = 0, end = 0; start < text.size(); start = end + 1) {
    end = text.find('\n', start);
    if (end == std::string::npos) break;
    const std::string line = text.substr(start, end - start);
    if (++line_number > header_lines) {
      const auto step = step_of(line);
      check_state(step.has_value(), "[MetricsWriter] '", path, "' line ", line_number,
                  " must be a row of metrics, got '", line.substr(0, 40), "'");
      if (*step > last_step) continue;
    }
    kept += line + '\n';
  }
  if (kept != text) write_file_atomic(path, {kept.begin(), kept.end()});
}

// TensorBoard reads a folder's files in the order of their names.
std::string next_event_path(const fs::path& folder) {
  for (uint64_t number = 0;; ++number) {
    fs::path path =
        folder / ("events.out.tfevents." + padded_number(number, /*digits=*/6) + ".ddpm");
    if (!fs::exists(path)) return path.string();
  }
}

std::string first_line(const std::string& path) {
  const std::string text = read_text_file(path);
  const size_t end = text.find('\n');
  return end == std::string::npos ? "" : text.substr(0, end);
}

}  // namespace

MetricsWriter::MetricsWriter(const std::string& folder, int64_t resumed_step) {
  const std::string jsonl_path = folder + "/metrics.jsonl";
  const std::string csv_path = folder + "/metrics.csv";
  const fs::path event_folder = fs::path(folder) / "tensorboard";
  const bool resumed = resumed_step > 0;
  if (resumed) {
    cut_after(jsonl_path, resumed_step, 0, json_step);
    cut_after(csv_path, resumed_step, 1, leading_step);
  }
  std::error_code error;
  if (!resumed) fs::remove_all(event_folder, error);
  fs::create_directories(event_folder, error);
  check_state(!error, "[MetricsWriter] can't create '", event_folder.string(),
              "': ", error.message());
  jsonl_ = std::make_unique<AppendFile>(jsonl_path, /*truncate=*/!resumed);
  csv_ = std::make_unique<AppendFile>(csv_path, /*truncate=*/!resumed);
  csv_header_ = first_line(csv_path);
  events_ = std::make_unique<EventFile>(next_event_path(event_folder), resumed_step);
}

void MetricsWriter::write(int64_t step, const MetricRow& row) {
  std::string header = "step";
  std::string csv = std::to_string(step);
  std::string json = kJsonStart + std::to_string(step);
  MetricRow finite;
  for (const auto& [name, value] : row) {
    const bool none = !std::isfinite(value);
    header += ',' + name;
    csv += ',' + (none ? "" : shortest(value));
    json += ", \"" + name + "\": " + (none ? "null" : shortest(value));
    if (!none) finite.emplace_back(name, value);
  }
  check_arg(csv_header_.empty() || header == csv_header_, "[MetricsWriter] '", csv_->path(),
            "' has other columns: expected ", csv_header_, ", got ", header);
  if (csv_header_.empty()) csv_->append(header + '\n');
  csv_header_ = header;
  csv_->append(csv + '\n');
  jsonl_->append(json + "}\n");
  events_->write_scalars(step, finite);
}

void MetricsWriter::write_image(int64_t step, const std::string& tag, const EventPicture& picture) {
  events_->write_image(step, tag, picture);
}

}  // namespace ddpm
