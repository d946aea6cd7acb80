#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace ddpm {

/// Counts up. Thread-safe, without locks.
class MetricCounter {
 public:
  void add(double amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

/// A value that goes up and down.
class MetricGauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

/// Counts observations up to each bound.
class MetricHistogram {
 public:
  explicit MetricHistogram(std::vector<double> bounds);
  void observe(double value);

 private:
  friend class MetricsRegistry;
  std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;  ///< one more than bounds: the last is +Inf
  std::atomic<double> sum_ = 0;
};

/// Names with their values: {{"route", "/v1/jobs"}, {"code", "200"}}. Never text from a client.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

/// All metrics of a process, and their text for Prometheus. A metric, once asked for, lives as long
/// as the registry, so callers keep the reference. Thread-safe.
class MetricsRegistry {
 public:
  /// Labels beyond this many in a family share one series with the value "other".
  static constexpr size_t kMaxSeries = 500;

  /// @throws std::invalid_argument if the name or a label's isn't [a-zA-Z_][a-zA-Z0-9_]*, or the
  ///         name is taken by a metric of another kind.
  MetricCounter& counter(const std::string& name, const std::string& help,
                         const MetricLabels& labels = {});
  MetricGauge& gauge(const std::string& name, const std::string& help,
                     const MetricLabels& labels = {});
  /// @param bounds ascending upper bounds; those of the first call for a name count.
  MetricHistogram& histogram(const std::string& name, const std::string& help,
                             const std::vector<double>& bounds, const MetricLabels& labels = {});

  /// Prometheus' text format 0.0.4.
  std::string prometheus_text() const;

 private:
  enum class Kind { kCounter, kGauge, kHistogram };
  struct Series {
    std::unique_ptr<MetricCounter> counter;
    std::unique_ptr<MetricGauge> gauge;
    std::unique_ptr<MetricHistogram> histogram;
  };
  struct Family {
    Kind kind;
    std::string help;
    std::vector<double> bounds;
    std::map<std::string, Series> series;  ///< by their labels as text: route="/v1/jobs",code="200"
  };
  Series& find_series(const std::string& name, const std::string& help, Kind kind,
                      const std::vector<double>& bounds, const MetricLabels& labels);
  static void write_histogram(std::string& text, const std::string& name, const std::string& labels,
                              const MetricHistogram& histogram);

  mutable std::mutex mutex_;
  std::map<std::string, Family> families_;
};

}  // namespace ddpm
