#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "commands.h"
#include "ddpm/core/check.h"
#include "ddpm/serving/load/load_generator.h"

namespace ddpm::app {
namespace {

struct BenchServeFlags {
  std::string url = "http://127.0.0.1:7860";
  LoadOptions load;
  bool alone_first = false;
  bool json = false;
};

/// "http://host:port", which is all that a server on the same machine or network needs.
void take_url(const std::string& url, LoadOptions& load) {
  constexpr std::string_view kScheme = "http://";
  check_arg(url.starts_with(kScheme), "[bench-serve] URL: expected http://HOST:PORT, got '", url,
            "'");
  std::string_view rest = std::string_view(url).substr(kScheme.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const size_t colon = rest.rfind(':');
  load.host = rest.substr(0, colon);
  load.port = 80;
  if (colon == std::string_view::npos) return;
  const std::string_view port = rest.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), load.port);
  check_arg(error == std::errc() && end == port.data() + port.size() && load.port > 0,
            "[bench-serve] URL: expected http://HOST:PORT, got '", url, "'");
}

double per_second(int64_t count, const LoadReport& report) {
  return report.seconds > 0 ? static_cast<double>(count) / report.seconds : 0;
}

nlohmann::ordered_json json_of(const LoadReport& report, int64_t clients) {
  return {{"clients", clients},
          {"answered", report.answered},
          {"rejected", report.rejected},
          {"failed", report.failed},
          {"seconds", report.seconds},
          {"images_per_second", per_second(report.images, report)},
          {"image_steps_per_second", per_second(report.image_steps, report)},
          {"latency_s",
           {{"p50", report.latency(0.5)},
            {"p90", report.latency(0.9)},
            {"p99", report.latency(0.99)},
            {"max", report.latency(1)}}},
          {"mean_batch", report.mean_batch}};
}

void print_line(const LoadReport& report, int64_t clients) {
  std::printf("%7lld %8lld %8lld %6lld %9.2f %13.1f %8.3f %8.3f %8.3f %8.3f %6.1f\n",
              static_cast<long long>(clients), static_cast<long long>(report.answered),
              static_cast<long long>(report.rejected), static_cast<long long>(report.failed),
              per_second(report.images, report), per_second(report.image_steps, report),
              report.latency(0.5), report.latency(0.9), report.latency(0.99), report.latency(1),
              report.mean_batch);
}

LoadReport measure(LoadOptions load, int64_t clients, const BenchServeFlags& flags) {
  load.clients = clients;
  LoadReport report = generate_load(load);
  if (!flags.json) print_line(report, clients);
  check_state(report.failed == 0,
              "[bench-serve] a request was not answered with images: ", report.first_failure);
  check_state(report.answered > 0, "[bench-serve] no request was answered in time");
  return report;
}

void run_bench_serve(BenchServeFlags& flags) {
  take_url(flags.url, flags.load);
  if (const char* key = std::getenv("DDPM_API_KEY")) flags.load.key = key;
  if (!flags.json) {
    std::printf("%7s %8s %8s %6s %9s %13s %8s %8s %8s %8s %6s\n", "clients", "answered", "rejected",
                "failed", "images/s", "image steps/s", "p50 s", "p90 s", "p99 s", "max s", "batch");
  }
  nlohmann::ordered_json runs = nlohmann::ordered_json::array();
  double alone = 0;
  if (flags.alone_first) {
    LoadOptions one = flags.load;
    one.rate = 0;
    const LoadReport report = measure(one, 1, flags);
    alone = per_second(report.image_steps, report);
    runs.push_back(json_of(report, 1));
  }
  const LoadReport report = measure(flags.load, flags.load.clients, flags);
  runs.push_back(json_of(report, flags.load.clients));
  const double ratio = alone > 0 ? per_second(report.image_steps, report) / alone : 0;
  if (flags.json) {
    nlohmann::ordered_json all{{"runs", runs}};
    if (alone > 0) all["ratio"] = ratio;
    std::printf("%s\n", all.dump(2).c_str());
  } else if (alone > 0) {
    std::printf("%.2f times the image steps of one request after another\n", ratio);
  }
}

}  // namespace

void add_bench_serve_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "bench-serve",
      "Measure a server: images a second, latencies and how full its batches are.\n\nExamples:\n"
      "  ddpm bench-serve --model garments                     32 clients, 10 to 100 steps\n"
      "  ddpm bench-serve --model garments --alone-first       and the ratio to one at a time\n"
      "  ddpm bench-serve --model garments --rate 20           20 requests a second, come what "
      "may\n"
      "  DDPM_API_KEY=... ddpm bench-serve http://gpu1:7860 --model garments --clients 128");
  auto flags = std::make_shared<BenchServeFlags>();
  LoadOptions& load = flags->load;
  command->add_option("url", flags->url, "http://HOST:PORT")->capture_default_str();
  command->add_option("--model", load.model, "as the server names it")->required();
  command->add_option("--sampler", load.sampler, "of every request")->capture_default_str();
  command->add_option("--steps", load.steps, "of which each request takes one by chance")
      ->delimiter(',')
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option("-n", load.num_images, "images a request")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--clients", load.clients, "requests that are open at most")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--seconds", load.seconds, "of sending; answers are waited for")
      ->check(CLI::Range(0.1, 1e6))
      ->capture_default_str();
  command
      ->add_option("--rate", load.rate,
                   "requests a second that come whether or not others are answered (open loop); 0: "
                   "each client waits for its answer")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command->add_option("--seed", load.seed, "of steps, times and images")->capture_default_str();
  command->add_flag("--alone-first", flags->alone_first,
                    "before it, for as long: one client alone, and the ratio");
  command->add_flag("--json", flags->json, "one JSON object");
  command->callback([flags] { run_bench_serve(*flags); });
}

}  // namespace ddpm::app
