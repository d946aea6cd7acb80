#pragma once

#include <atomic>
#include <string>

#include "ddpm/serving/api/generation_fields.h"
#include "ddpm/serving/api/job_watcher.h"
#include "ddpm/serving/api/served_models.h"
#include "ddpm/serving/engine/engine.h"
#include "ddpm/serving/http/metrics.h"
#include "ddpm/serving/jobs/jobs.h"

namespace ddpm {

/// What all routes share. It outlives the server whose routes have it.
///
/// A route that draws images makes a JSON body of docs/http_api.md, "Generation", and calls
///
///     JobRequest request = parse_generation(body, service.models, service.limits);
///     JobSnapshot job = submit_job(service, std::move(request));       // HttpError 422, 429, 503
///     auto watch = service.watcher.watch(job.id, 0, [](const JobEvent& event) { .. });
///
/// and answers from the events, without a thread that waits. submit_job() may write to a disk, so
/// its routes run in a worker (HttpRoute::on_worker).
struct Service {
  Engine& engine;
  Jobs& jobs;
  JobWatcher& watcher;
  ServedModels& models;
  MetricsRegistry& metrics;
  GenerationLimits limits = {};
  std::string version = {};               ///< Of the program: "0.1.0".
  bool needs_key = false;                 ///< Requests have to show one.
  std::atomic<bool> is_draining = false;  ///< The server is to stop: not ready any more.
};

}  // namespace ddpm
