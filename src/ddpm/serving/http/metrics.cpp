#include "ddpm/serving/http/metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace ddpm {
namespace {

bool is_metric_name(const std::string& name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto is_good = [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); };
  return !name.empty() && is_letter(name[0]) && std::all_of(name.begin(), name.end(), is_good);
}

std::string escaped_label(const std::string& value) {
  std::string escaped;
  for (const char letter : value) {
    if (letter == '\\' || letter == '"') escaped += '\\';
    escaped += letter == '\n' ? ' ' : letter;
  }
  return escaped;
}

std::string labels_text(const MetricLabels& labels, bool is_overflow) {
  std::string text;
  for (const auto& [name, value] : labels) {
    if (!is_metric_name(name)) {
      throw std::invalid_argument("[MetricsRegistry] label: expected a name, got '" + name + "'");
    }
    text += (text.empty() ? "" : ",") + name + "=\"" +
            (is_overflow ? "other" : escaped_label(value)) + "\"";
  }
  return text;
}

std::string number_text(double value) {
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  if (std::isnan(value)) return "NaN";
  char text[40];
  std::snprintf(text, sizeof text, "%.15g", value);
  return text;
}

void write_sample(std::string& text, const std::string& name, const std::string& labels,
                  double value) {
  text += name + (labels.empty() ? "" : "{" + labels + "}") + " " + number_text(value) + "\n";
}

}  // namespace

MetricHistogram::MetricHistogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {
  if (!std::is_sorted(bounds_.begin(), bounds_.end())) {
    throw std::invalid_argument("[MetricHistogram] bounds: expected ascending ones");
  }
}

void MetricHistogram::observe(double value) {
  const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  const auto index = static_cast<size_t>(bound - bounds_.begin());
  counts_[index].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

MetricsRegistry::Series& MetricsRegistry::find_series(const std::string& name,
                                                      const std::string& help, Kind kind,
                                                      const std::vector<double>& bounds,
                                                      const MetricLabels& labels) {
  if (!is_metric_name(name)) {
    throw std::invalid_argument("[MetricsRegistry] metric: expected a name, got '" + name + "'");
  }
  Family& family = families_.try_emplace(name, Family{kind, help, bounds, {}}).first->second;
  if (family.kind != kind) {
    throw std::invalid_argument("[MetricsRegistry] kind of " + name + ": expected the first one");
  }
  const std::string text = labels_text(labels, false);
  const auto found = family.series.find(text);
  if (found != family.series.end()) return found->second;
  const bool is_overflow = family.series.size() >= kMaxSeries;
  Series& series = family.series[is_overflow ? labels_text(labels, true) : text];
  if (series.counter || series.gauge || series.histogram) return series;
  if (kind == Kind::kCounter) series.counter = std::make_unique<MetricCounter>();
  if (kind == Kind::kGauge) series.gauge = std::make_unique<MetricGauge>();
  if (kind == Kind::kHistogram) {
    series.histogram = std::make_unique<MetricHistogram>(family.bounds);
  }
  return series;
}

MetricCounter& MetricsRegistry::counter(const std::string& name, const std::string& help,
                                        const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  return *find_series(name, help, Kind::kCounter, {}, labels).counter;
}

MetricGauge& MetricsRegistry::gauge(const std::string& name, const std::string& help,
                                    const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  return *find_series(name, help, Kind::kGauge, {}, labels).gauge;
}

MetricHistogram& MetricsRegistry::histogram(const std::string& name, const std::string& help,
                                            const std::vector<double>& bounds,
                                            const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  return *find_series(name, help, Kind::kHistogram, bounds, labels).histogram;
}

void MetricsRegistry::write_histogram(std::string& text, const std::string& name,
                                      const std::string& labels, const MetricHistogram& histogram) {
  const std::string before = labels.empty() ? "" : labels + ",";
  uint64_t count = 0;
  for (size_t i = 0; i < histogram.counts_.size(); ++i) {
    count += histogram.counts_[i].load(std::memory_order_relaxed);
    const bool is_last = i == histogram.bounds_.size();
    const std::string bound = is_last ? "+Inf" : number_text(histogram.bounds_[i]);
    write_sample(text, name + "_bucket", before + "le=\"" + bound + "\"",
                 static_cast<double>(count));
  }
  write_sample(text, name + "_sum", labels, histogram.sum_.load(std::memory_order_relaxed));
  write_sample(text, name + "_count", labels, static_cast<double>(count));
}

std::string MetricsRegistry::prometheus_text() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const auto& [name, family] : families_) {
    const char* const kind = family.kind == Kind::kCounter ? "counter"
                             : family.kind == Kind::kGauge ? "gauge"
                                                           : "histogram";
    text += "# HELP " + name + " " + family.help + "\n# TYPE " + name + " " + kind + "\n";
    for (const auto& [labels, series] : family.series) {
      if (series.counter) write_sample(text, name, labels, series.counter->value());
      if (series.gauge) write_sample(text, name, labels, series.gauge->value());
      if (series.histogram) write_histogram(text, name, labels, *series.histogram);
    }
  }
  return text;
}

}  // namespace ddpm
