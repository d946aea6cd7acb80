#include "ddpm/serving/load/load_generator.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "ddpm/serving/load/http_client.h"

namespace ddpm {
namespace {

using LoadClock = std::chrono::steady_clock;

double seconds_since(LoadClock::time_point begin) {
  return std::chrono::duration<double>(LoadClock::now() - begin).count();
}

void check_load(bool holds, const std::string& message) {
  if (!holds) throw std::invalid_argument("[generate_load] " + message);
}

HttpHeaders headers_of(const LoadOptions& options) {
  if (options.key.empty()) return {};
  return {{"Authorization", "Bearer " + options.key}};
}

/// The number behind a line of /metrics that begins so.
std::optional<double> metric(const std::string& text, const std::string& name) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name + " ")) return std::stod(line.substr(name.size() + 1));
  }
  return std::nullopt;
}

/// Sum and number of the network calls' batches so far.
struct BatchCount {
  double images = 0, calls = 0;
};
BatchCount batch_count(const LoadOptions& options) {
  const std::string text = HttpClient(options.host, options.port)
                               .request(HttpMethod::kGet, "/metrics", headers_of(options))
                               .body;
  return {metric(text, "ddpm_engine_batch_images_sum").value_or(0),
          metric(text, "ddpm_engine_batch_images_count").value_or(0)};
}

/// A request and when it is due.
struct DueRequest {
  double due = 0;  ///< seconds from the start
  int64_t steps = 0;
  uint64_t seed = 0;
};

/// Gives the requests out, one after the other.
class Arrivals {
 public:
  explicit Arrivals(const LoadOptions& options) : options_(options), random_(options.seed) {}

  /// Nothing when the time is over. In an open loop it may be due later, or already.
  std::optional<DueRequest> next(double now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    DueRequest request{.due = now};
    if (options_.rate > 0) {
      last_due_ += std::exponential_distribution<double>(options_.rate)(random_);
      request.due = last_due_;
    }
    if (request.due >= options_.seconds) return std::nullopt;
    const size_t last = options_.steps.size() - 1;
    request.steps = options_.steps[std::uniform_int_distribution<size_t>(0, last)(random_)];
    request.seed = random_() >> 1;
    return request;
  }

 private:
  const LoadOptions& options_;
  std::mutex mutex_;
  std::mt19937_64 random_;
  double last_due_ = 0;
};

/// The clients' common notes.
class Notes {
 public:
  void answered(const LoadOptions& options, const DueRequest& request, double now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++report_.answered;
    report_.images += options.num_images;
    report_.image_steps += options.num_images * request.steps;
    report_.latencies.push_back(now - request.due);
    report_.seconds = std::max(report_.seconds, now);
  }
  void rejected() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++report_.rejected;
  }
  void failed(const std::string& why) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (report_.failed++ == 0) report_.first_failure = why;
  }
  LoadReport take() {
    std::ranges::sort(report_.latencies);
    return std::move(report_);
  }

 private:
  std::mutex mutex_;
  LoadReport report_;
};

std::string body_of(const LoadOptions& options, const DueRequest& request) {
  return nlohmann::json{{"model", options.model},
                        {"num_images", options.num_images},
                        {"seed", request.seed},
                        {"sampler", {{"kind", options.sampler}, {"steps", request.steps}}}}
      .dump();
}

std::chrono::duration<double> pause_of(const HttpReply& reply) {
  constexpr double kDefaultSeconds = 0.1, kLongestSeconds = 5;
  const std::string* const after = find_header(reply.headers, "Retry-After");
  const double seconds = after == nullptr ? kDefaultSeconds : std::strtod(after->c_str(), nullptr);
  return std::chrono::duration<double>(std::clamp(seconds, kDefaultSeconds, kLongestSeconds));
}

void run_client(const LoadOptions& options, LoadClock::time_point begin, Arrivals& arrivals,
                Notes& notes) {
  HttpClient client(options.host, options.port);
  while (const auto request = arrivals.next(seconds_since(begin))) {
    std::this_thread::sleep_until(begin + std::chrono::duration_cast<LoadClock::duration>(
                                              std::chrono::duration<double>(request->due)));
    try {
      const HttpReply reply = client.request(HttpMethod::kPost, "/v1/generate", headers_of(options),
                                             body_of(options, *request));
      if (reply.status == 200) {
        notes.answered(options, *request, seconds_since(begin));
      } else if (reply.status == 429 || reply.status == 503) {
        notes.rejected();
        if (options.rate == 0) std::this_thread::sleep_for(pause_of(reply));
      } else {
        notes.failed(std::to_string(reply.status) + ": " + reply.body.substr(0, 300));
        return;  // the next would fail too
      }
    } catch (const std::runtime_error& error) {
      notes.failed(error.what());
      return;
    }
  }
}

}  // namespace

double LoadReport::latency(double share) const {
  if (latencies.empty()) return 0;
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(latencies.size())));
  return latencies[std::clamp<size_t>(rank, 1, latencies.size()) - 1];
}

LoadReport generate_load(const LoadOptions& options) {
  check_load(options.clients >= 1 && options.clients <= 4096,
             "clients: expected 1 to 4096, got " + std::to_string(options.clients));
  check_load(options.seconds > 0 && options.rate >= 0 && options.num_images >= 1,
             "seconds and images must be positive, rate at least 0");
  check_load(!options.steps.empty() &&
                 std::ranges::all_of(options.steps, [](int64_t n) { return n >= 1; }),
             "steps: expected numbers from 1 on");
  const BatchCount before = batch_count(options);
  Arrivals arrivals(options);
  Notes notes;
  const LoadClock::time_point begin = LoadClock::now();
  {
    std::vector<std::jthread> clients;
    for (int64_t i = 0; i < options.clients; ++i) {
      clients.emplace_back(run_client, std::cref(options), begin, std::ref(arrivals),
                           std::ref(notes));
    }
  }
  LoadReport report = notes.take();
  const BatchCount after = batch_count(options);
  if (after.calls > before.calls) {
    report.mean_batch = (after.images - before.images) / (after.calls - before.calls);
  }
  return report;
}

}  // namespace ddpm
