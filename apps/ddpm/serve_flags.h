#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/serving/api/served_model.h"
#include "ddpm/serving/engine/engine_options.h"
#include "ddpm/serving/http/http_server.h"
#include "ddpm/serving/jobs/jobs.h"

namespace CLI {
class App;
}

namespace ddpm::app {

/// What `ddpm serve` is told.
struct ServeFlags {
  std::string models;
  std::string host = "127.0.0.1";
  int port = 7860;
  bool has_port = false;  ///< --port was given: a Unix socket does not stand in its place.
  std::string unix_socket;
  std::string key_file;
  std::vector<std::string> allowed_origins, allowed_hosts;
  std::string tls_certificate, tls_private_key;
  int64_t max_queue = 4096;     ///< Images that wait or are drawn.
  int64_t max_batch = 64;       ///< Rows of a network call.
  int64_t max_images = 64;      ///< Of one request.
  int64_t memory_mib = 8192;    ///< Of the weights in memory.
  int64_t results_mib = 256;    ///< Of the images that are kept.
  int64_t keep_seconds = 3600;  ///< Of a job since its end.
  int64_t drain_seconds = 30;   ///< From SIGTERM to the end of what is open.
  std::string state;            ///< SQLite file of the jobs; empty: they end with the process.
  int64_t threads = 0;
  PipelineOptions pipeline;
  bool check = false;
};

/// Adds the positional folder and the flags; `flags` must outlive the command.
void add_serve_flags(CLI::App& command, ServeFlags& flags);

/// @throws std::invalid_argument  if flags contradict each other.
/// @throws std::runtime_error     if the key file can't be read.
HttpServerOptions http_options(const ServeFlags& flags);
EngineOptions engine_options(const ServeFlags& flags);
/// With pictures of traces, and the store of --state.
JobsOptions jobs_options(const ServeFlags& flags);
/// Of the images that are kept.
int64_t result_bytes(const ServeFlags& flags);

ServedModelOptions model_options(const ServeFlags& flags);

/// "http://127.0.0.1:7860/", or "unix:PATH".
///
/// @param port that the server listens on; 0: none.
std::string server_address(const ServeFlags& flags, int port);

}  // namespace ddpm::app
