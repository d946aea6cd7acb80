#include "ddpm/serving/api/prometheus_text.h"

#include "ddpm/config/field_list.h"

namespace ddpm {

void PrometheusText::head(const std::string& name, const std::string& help, const char* type) {
  if (name == last_name_) return;
  last_name_ = name;
  text_ += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

void PrometheusText::line(const std::string& name, const MetricLabels& labels, double value) {
  text_ += name;
  const char* before = "{";
  for (const auto& [label, text] : labels) {
    text_ += before + label + "=\"" + text + "\"";
    before = ",";
  }
  if (!labels.empty()) text_ += "}";
  text_ += " " + number_text(value) + "\n";
}

void PrometheusText::counter(const std::string& name, const std::string& help, double value,
                             const MetricLabels& labels) {
  head(name, help, "counter");
  line(name, labels, value);
}

void PrometheusText::gauge(const std::string& name, const std::string& help, double value,
                           const MetricLabels& labels) {
  head(name, help, "gauge");
  line(name, labels, value);
}

void PrometheusText::histogram(const std::string& name, const std::string& help,
                               std::span<const double> bounds, std::span<const uint64_t> counts,
                               double sum) {
  head(name, help, "histogram");
  uint64_t total = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    total += counts[i];
    const std::string bound = i < bounds.size() ? number_text(bounds[i]) : "+Inf";
    line(name + "_bucket", {{"le", bound}}, static_cast<double>(total));
  }
  line(name + "_sum", {}, sum);
  line(name + "_count", {}, static_cast<double>(total));
}

}  // namespace ddpm
