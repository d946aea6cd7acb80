#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

#include "commands.h"
#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/core/log.h"
#include "ddpm/serving/api/all_routes.h"
#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/service.h"
#include "serve_flags.h"

namespace ddpm::app {
namespace {

using std::chrono::seconds;

constexpr rlim_t kManyFiles = 65536;
constexpr int64_t kMostSecondsBetweenExpiries = 60;
constexpr seconds kLastAnswers{5};  ///< For clients to read how their jobs ended.

/// The signals that the main thread waits for; no thread that begins after this gets them.
sigset_t block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

int next_signal(const sigset_t& signals) {
  int signal = 0;
  check_state(sigwait(&signals, &signal) == 0, "[serve] can't wait for signals");
  return signal;
}

/// A connection is a file, and so is each thing that is read meanwhile.
void allow_many_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min(limit.rlim_max, std::max(limit.rlim_cur, kManyFiles));
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    log_warn("[serve] can't raise the limit of open files");
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// All parts of a server, each after those that it uses.
struct Server {
  explicit Server(const ServeFlags& flags)
      : models(flags.models, model_options(flags)),
        engine(models.engine_models(), engine_options(flags)),
        jobs(engine, encode_job_image, jobs_options(flags)),
        watcher(jobs) {
    service.limits.max_images = engine_options(flags).max_images;
    service.limits.max_result_bytes = result_bytes(flags);
    service.version = kVersion;
    HttpServerOptions options = http_options(flags);
    options.at_worker_start = compute_in_this_thread_alone;
    options.metrics = &metrics;
    service.needs_key = !options.keys.empty();
    http = std::make_unique<HttpServer>(std::move(options), all_routes(service));
  }

  /// @return whether all that was open came to its end.
  bool drain(seconds at_most) {
    service.is_draining = true;
    const bool is_done = engine.drain(EngineClock::now() + at_most);
    http->drain(kLastAnswers);
    return is_done;
  }

  void reload() {
    try {
      const ServedModelChanges changes = models.reload();
      engine.set_models(models.engine_models());
      log_info("[serve] models read again; new: " + join(changes.added) +
               "; changed: " + join(changes.changed) + "; gone: " + join(changes.removed));
    } catch (const std::exception& error) {
      log_error("[serve] the models stay as they were: " + std::string(error.what()));
    }
  }

  MetricsRegistry metrics;
  ServedModels models;
  Engine engine;
  Jobs jobs;
  JobWatcher watcher;
  Service service{engine, jobs, watcher, models, metrics};
  std::unique_ptr<HttpServer> http;
};

/// The next signal to stop. Until then models are read again at each SIGHUP, and what is too old
/// is forgotten, also where nobody asks for anything.
int run_until_signal(Server& server, const sigset_t& signals, int64_t keep_seconds) {
  const timespec period{.tv_sec = std::min(keep_seconds, kMostSecondsBetweenExpiries),
                        .tv_nsec = 0};
  for (;;) {
    const int signal = sigtimedwait(&signals, nullptr, &period);
    if (signal == SIGHUP) {
      server.reload();
    } else if (signal > 0) {
      return signal;
    } else {
      check_state(errno == EAGAIN || errno == EINTR, "[serve] can't wait for signals");
      server.jobs.expire();
    }
  }
}

/// Reads each model's weights and calls its network once.
void check_models(const ServedModels& models) {
  for (const auto& model : models.list()) {
    const EngineModel& engine = *model->engine;
    const EngineNetwork network = engine.load();
    std::vector<int64_t> shape = model->image_shape;
    shape.insert(shape.begin(), 1);
    const Tensor x = at::zeros(shape, at::device(engine.device));
    const Tensor t = at::zeros({1}, at::device(engine.device).dtype(at::kLong));
    const Tensor label = engine.num_labels > 0 ? at::zeros_like(t) : Tensor();
    const bool is_finite = network(x, t, label).isfinite().all().item<bool>();
    check_state(is_finite, "[", model->id,
                "] expected a finite answer of the network, got another");
    std::printf("%s: ok\n", model->id.c_str());
  }
}

void print_models(const ServedModels& models) {
  for (const RefusedModel& refused : models.refused()) {
    log_warn("[serve] " + refused.id + " is not served. " + refused.reason);
  }
}

/// A second Ctrl-C or SIGTERM ends the process at once.
void leave_at_next_signal(const sigset_t& signals) {
  std::thread([signals] {
    int signal = SIGHUP;
    while (signal == SIGHUP) signal = next_signal(signals);
    _exit(128 + signal);
  }).detach();
}

void run_serve(const ServeFlags& flags, int& exit_code) {
  const sigset_t signals = block_signals();
  configure_cpu(flags.threads);
  configure_gpu();
  limit_threads_beside(select_device(flags.pipeline.device), flags.threads);
  compute_in_this_thread_alone();  // it reads the folder of models; the engine's computes
  allow_many_files();
  Server server(flags);
  print_models(server.models);
  if (flags.check) check_models(server.models);
  server.http->start();
  const std::string address = server_address(flags, server.http->port());
  if (flags.check) {
    std::printf("%s: free\n", address.c_str());
    return;
  }
  const std::size_t count = server.models.list().size();
  std::printf("serving %zu %s at %s\n", count, count == 1 ? "model" : "models", address.c_str());
  std::fflush(stdout);
  const int signal = run_until_signal(server, signals, flags.keep_seconds);
  log_info("[serve] stopping: what is open has " + std::to_string(flags.drain_seconds) + " s");
  leave_at_next_signal(signals);
  const bool is_done = server.drain(seconds(flags.drain_seconds));
  if (!is_done) log_warn("[serve] jobs were cut short");
  exit_code = is_done ? 0 : 128 + signal;
}

}  // namespace

void add_serve_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "serve",
      "Serve models over HTTP: a page for browsers, an API for programs (docs/http_api.md). Ctrl-C "
      "or SIGTERM finishes what is open and exits 0, or 128 + the signal's number where the time "
      "for it was too short; SIGHUP reads the folder of models again.\n\nExamples:\n"
      "  ddpm serve runs                            every model below runs/, for this machine\n"
      "  ddpm serve runs/fashion_mnist --port 8000  one model\n"
      "  ddpm serve models --host 0.0.0.0 --key-file keys.txt   for others, who need a key\n"
      "  ddpm serve models --check                  would it run?");
  auto flags = std::make_shared<ServeFlags>();
  add_serve_flags(*command, *flags);
  command->callback([flags, &exit_code] { run_serve(*flags, exit_code); });
}

}  // namespace ddpm::app
