#pragma once

#include <atomic>
#include <memory>

#include "ddpm/serving/http/http_access_log.h"
#include "ddpm/serving/http/http_budget.h"
#include "ddpm/serving/http/http_gzip.h"
#include "ddpm/serving/http/http_keys.h"
#include "ddpm/serving/http/http_origin.h"
#include "ddpm/serving/http/http_server.h"
#include "ddpm/serving/http/http_workers.h"

namespace ddpm {

/// What all connections of a server share. Thread-safe.
struct HttpServiceState {
  HttpServiceState(HttpServerOptions options, HttpRouter router);

  const HttpServerOptions options;
  const HttpRouter router;
  const HttpKeys keys;
  const HttpOriginPolicy origins;
  GzipCache gzip;
  const std::shared_ptr<HttpBudget> body_bytes;
  HttpConnectionCount connections;
  std::unique_ptr<MetricsRegistry> own_metrics;
  MetricsRegistry& metrics;
  MetricCounter& refused_connections;
  MetricCounter& dropped_streams;
  MetricCounter& sent_bytes;
  MetricGauge& open_connections;
  std::atomic<bool> is_draining = false;
  HttpWorkers workers;  ///< last: its threads end first

  /// Counts the request and writes its line.
  void record(const HttpAccessRecord& record);
};

}  // namespace ddpm
