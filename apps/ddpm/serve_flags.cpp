#include "serve_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/http/http_keys.h"
#include "ddpm/serving/jobs/job_store.h"
#include "enum_option.h"

namespace ddpm::app {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;
constexpr const char* kKeyVariable = "DDPM_API_KEY";

CLI::Range from_one_to(double most) { return {1.0, most}; }

void add_network_flags(CLI::App& command, ServeFlags& flags) {
  const char* group = "Network";
  command.add_option("--host", flags.host, "address of the interface to listen on")
      ->capture_default_str()
      ->group(group);
  command
      .add_option_function<int>(
          "--port",
          [&flags](int port) {
            flags.port = port;
            flags.has_port = true;
          },
          "TCP port; 0: one that is free")
      ->check(CLI::Range(0, 65535))
      ->default_str("7860")
      ->group(group);
  command
      .add_option("--unix-socket", flags.unix_socket,
                  "listen at this path, for its owner alone; without --port there is no TCP then")
      ->group(group);
  command
      .add_option("--key-file", flags.key_file,
                  "API keys of 16 to 256 letters, one a line; without it DDPM_API_KEY of the "
                  "environment. Needed where others than this machine can connect")
      ->group(group);
  command
      .add_option("--allow-origin", flags.allowed_origins,
                  "https://studio.example: a site whose pages may call us; may be repeated")
      ->group(group);
  command
      .add_option("--allow-host", flags.allowed_hosts,
                  "a name that the server goes by; may be repeated. Default: local names where "
                  "there is no key, else any")
      ->group(group);
  if (!HttpServer::has_tls()) return;
  command.add_option("--tls-cert", flags.tls_certificate, "certificate chain (PEM)")->group(group);
  command.add_option("--tls-key", flags.tls_private_key, "its private key (PEM)")->group(group);
}

void add_limit_flags(CLI::App& command, ServeFlags& flags) {
  const char* group = "Limits";
  command.add_option("--max-queue", flags.max_queue, "images that wait or are drawn; more get 429")
      ->check(from_one_to(1e6))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--max-batch", flags.max_batch,
                  "images of a network call, of which a guided one counts twice")
      ->check(CLI::Range(2.0, 4096.0))
      ->capture_default_str()
      ->group(group);
  command.add_option("--max-images", flags.max_images, "images of one request")
      ->check(from_one_to(256))
      ->capture_default_str()
      ->group(group);
  command.add_option("--memory", flags.memory_mib, "MiB for the weights of models")
      ->check(from_one_to(1e7))
      ->capture_default_str()
      ->group(group);
  command.add_option("--results", flags.results_mib, "MiB for images until they are fetched")
      ->check(from_one_to(1e6))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--keep-seconds", flags.keep_seconds, "how long a job is kept when it is over")
      ->check(from_one_to(1e8))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--drain-seconds", flags.drain_seconds,
                  "what is open at SIGTERM or Ctrl-C may take this long")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str()
      ->group(group);
}

std::vector<std::string> keys_of(const ServeFlags& flags) {
  if (!flags.key_file.empty()) return read_key_file(flags.key_file);
  const char* const key = std::getenv(kKeyVariable);
  if (key == nullptr || *key == '\0') return {};
  return {key};
}

}  // namespace

void add_serve_flags(CLI::App& command, ServeFlags& flags) {
  command.add_option("models", flags.models, "folder of models, or one model")->required();
  command.add_option("--device", flags.pipeline.device, "auto, cpu, cuda or cuda:N")
      ->capture_default_str();
  add_enum_option(command, "--precision", flags.pipeline.precision,
                  "of the networks; default fp32; auto: bf16 where it is faster on the device");
  command.add_option("--threads", flags.threads,
                     "CPU threads; 0: one a core, beside a GPU at most four");
  command.add_flag("--raw-weights", flags.pipeline.raw_weights,
                   "of runs and checkpoints the weights instead of their EMA");
  command.add_option("--state", flags.state,
                     "SQLite file in which jobs and images outlive the server");
  command.add_flag("--check", flags.check,
                   "check flags, models and port, load each model, and exit");
  add_network_flags(command, flags);
  add_limit_flags(command, flags);
}

HttpServerOptions http_options(const ServeFlags& flags) {
  check_arg(flags.tls_certificate.empty() == flags.tls_private_key.empty(),
            "[serve] expected --tls-cert and --tls-key together");
  HttpServerOptions options;
  const bool has_tcp = flags.has_port || flags.unix_socket.empty();
  options.address = has_tcp ? flags.host : "";
  options.port = flags.port;
  options.unix_socket = flags.unix_socket;
  options.keys = keys_of(flags);
  options.allowed_origins = flags.allowed_origins;
  options.allowed_hosts = flags.allowed_hosts;
  options.tls_certificate = flags.tls_certificate;
  options.tls_private_key = flags.tls_private_key;
  return options;
}

EngineOptions engine_options(const ServeFlags& flags) {
  EngineOptions options;
  options.max_batch = flags.max_batch;
  options.max_in_flight = std::max(options.max_in_flight, 4 * flags.max_batch);
  options.max_open_images = flags.max_queue;
  options.max_images = std::min(flags.max_images, flags.max_queue);
  options.max_model_bytes = flags.memory_mib * kMib;
  options.batch_sizes = default_batch_sizes(!select_device(flags.pipeline.device).is_cpu());
  std::erase_if(options.batch_sizes, [&](int64_t size) { return size >= flags.max_batch; });
  if (!options.batch_sizes.empty()) options.batch_sizes.push_back(flags.max_batch);
  return options;
}

JobsOptions jobs_options(const ServeFlags& flags) {
  JobsOptions options;
  options.max_result_bytes = result_bytes(flags);
  options.max_age = std::chrono::seconds(flags.keep_seconds);
  options.encode_frame = encode_job_frame;
  if (flags.state.empty()) return options;
  std::shared_ptr<JobStore> store = open_job_store({.file = flags.state});
  if (!flags.check) options.store = std::move(store);  // a check begins no job again
  return options;
}

int64_t result_bytes(const ServeFlags& flags) { return flags.results_mib * kMib; }

ServedModelOptions model_options(const ServeFlags& flags) {
  return {.pipeline = flags.pipeline, .max_model_bytes = flags.memory_mib * kMib};
}

std::string server_address(const ServeFlags& flags, int port) {
  if (port == 0) return "unix:" + flags.unix_socket;
  const bool is_ipv6 = flags.host.find(':') != std::string::npos;
  const std::string host = is_ipv6 ? "[" + flags.host + "]" : flags.host;
  const std::string scheme = flags.tls_certificate.empty() ? "http" : "https";
  return scheme + "://" + host + ":" + std::to_string(port) + "/";
}

}  // namespace ddpm::app
