#include "ddpm/serving/http/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <thread>

namespace ddpm {
namespace {

using testing::HasSubstr;

TEST(MetricsTest, WritesThePrometheusFormat) {
  MetricsRegistry registry;
  registry.counter("requests_total", "Requests.", {{"route", "/v1/{id}"}, {"code", "200"}}).add(3);
  registry.gauge("queue", "Waiting.").set(2.5);
  MetricHistogram& seconds = registry.histogram("seconds", "Times.", {0.5, 2});
  for (double value : {0.1, 0.5, 1.0, 7.0}) seconds.observe(value);
  EXPECT_EQ(registry.prometheus_text(),
            "# HELP queue Waiting.\n# TYPE queue gauge\nqueue 2.5\n"
            "# HELP requests_total Requests.\n# TYPE requests_total counter\n"
            "requests_total{route=\"/v1/{id}\",code=\"200\"} 3\n"
            "# HELP seconds Times.\n# TYPE seconds histogram\n"
            "seconds_bucket{le=\"0.5\"} 2\nseconds_bucket{le=\"2\"} 3\n"
            "seconds_bucket{le=\"+Inf\"} 4\nseconds_sum 8.6\nseconds_count 4\n");
}

TEST(MetricsTest, TheSameNameAndLabelsAreTheSameMetric) {
  MetricsRegistry registry;
  registry.counter("a", "").add();
  registry.counter("a", "").add();
  EXPECT_EQ(registry.counter("a", "").value(), 2);
  EXPECT_EQ(registry.counter("a", "", {{"b", "c"}}).value(), 0);
}

TEST(MetricsTest, BadNamesAndKindsAreRefused) {
  MetricsRegistry registry;
  registry.counter("a", "");
  EXPECT_THROW(registry.gauge("a", ""), std::invalid_argument);
  for (const char* name : {"", "1a", "a-b", "a\n"}) {
    EXPECT_THROW(registry.counter(name, ""), std::invalid_argument);
    EXPECT_THROW(registry.counter("b", "", {{name, "x"}}), std::invalid_argument);
  }
  EXPECT_THROW(registry.histogram("h", "", {2, 1}), std::invalid_argument);
}

TEST(MetricsTest, LabelsAreEscapedAndTheirNumberIsBounded) {
  MetricsRegistry registry;
  registry.counter("a", "", {{"b", "\"\\\n"}}).add();
  EXPECT_THAT(registry.prometheus_text(), HasSubstr("a{b=\"\\\"\\\\ \"} 1\n"));
  for (int i = 0; i < 2000; ++i) registry.counter("many", "", {{"b", std::to_string(i)}}).add();
  const std::string text = registry.prometheus_text();
  EXPECT_THAT(text, HasSubstr("many{b=\"other\"} 1500\n"));
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 510);
}

TEST(MetricsTest, OddValuesAreWrittenAsPrometheusReadsThem) {
  MetricsRegistry registry;
  registry.gauge("a", "").set(std::numeric_limits<double>::infinity());
  registry.gauge("b", "").set(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(registry.prometheus_text(), HasSubstr("a +Inf\n"));
  EXPECT_THAT(registry.prometheus_text(), HasSubstr("b NaN\n"));
}

TEST(MetricsTest, ThreadsMayCountAtTheSameTime) {
  MetricsRegistry registry;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) {
        registry.counter("a", "").add();
        registry.histogram("h", "", {1}).observe(1);
        if (k % 100 == 0) registry.prometheus_text();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(registry.counter("a", "").value(), 4000);
}

}  // namespace
}  // namespace ddpm
