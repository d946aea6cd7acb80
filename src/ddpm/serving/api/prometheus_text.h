#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ddpm/serving/http/metrics.h"

namespace ddpm {

/// Numbers that someone else counts, in Prometheus' text format 0.0.4: families in the order of
/// their first value.
class PrometheusText {
 public:
  void counter(const std::string& name, const std::string& help, double value,
               const MetricLabels& labels = {});
  void gauge(const std::string& name, const std::string& help, double value,
             const MetricLabels& labels = {});
  /// @param counts of values up to each bound, and above the last: one more than bounds.
  void histogram(const std::string& name, const std::string& help, std::span<const double> bounds,
                 std::span<const uint64_t> counts, double sum);

  const std::string& text() const { return text_; }

 private:
  void head(const std::string& name, const std::string& help, const char* type);
  void line(const std::string& name, const MetricLabels& labels, double value);

  std::string text_;
  std::string last_name_;
};

}  // namespace ddpm
