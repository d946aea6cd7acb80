#include "ddpm/serving/http/http_service_state.h"

#include <stdexcept>

#include "ddpm/core/log.h"

namespace ddpm {
namespace {

bool is_loopback(const std::string& address) {
  return address == "localhost" || address == "::1" || address.starts_with("127.");
}

HttpServerOptions checked_options(HttpServerOptions options) {
  const auto refuse = [](const std::string& rule) {
    throw std::invalid_argument("[HttpServer] " + rule);
  };
  if (options.address.empty() && options.unix_socket.empty()) {
    refuse("address: expected one or a unix_socket, got neither");
  }
  if (!options.address.empty() && !is_loopback(options.address) && options.keys.empty()) {
    refuse("address: expected a loopback address where there is no key, got '" + options.address +
           "'");
  }
  if (options.port < 0 || options.port > 65535) {
    refuse("port: expected 0 to 65535, got " + std::to_string(options.port));
  }
  if (options.io_threads < 1 || options.io_threads > 64) {
    refuse("io_threads: expected 1 to 64, got " + std::to_string(options.io_threads));
  }
  if (options.tls_certificate.empty() != options.tls_private_key.empty()) {
    refuse("TLS: expected a certificate and a private key, got one of them");
  }
  if (!options.tls_certificate.empty() && !HttpServer::has_tls()) {
    refuse("TLS: expected a build with OpenSSL, got one without");
  }
  if (options.allowed_hosts.empty() && options.keys.empty() && !options.address.empty()) {
    options.allowed_hosts = {"localhost", "127.0.0.1", "::1", options.address};
  }
  if (!options.access_log) options.access_log = log_info;
  return options;
}

std::string status_label(int status) { return std::to_string(status); }

}  // namespace

HttpServiceState::HttpServiceState(HttpServerOptions given, HttpRouter given_router)
    : options(checked_options(std::move(given))),
      router(std::move(given_router)),
      keys(options.keys),
      origins(options.allowed_origins, options.allowed_hosts),
      body_bytes(std::make_shared<HttpBudget>(options.limits.max_bodies_bytes)),
      connections(options.limits.max_connections, options.limits.max_connections_per_address),
      own_metrics(options.metrics == nullptr ? std::make_unique<MetricsRegistry>() : nullptr),
      metrics(options.metrics == nullptr ? *own_metrics : *options.metrics),
      refused_connections(metrics.counter("ddpm_http_connections_refused_total",
                                          "Connections over a limit, closed at once.")),
      dropped_streams(metrics.counter("ddpm_http_streams_dropped_total",
                                      "Streams cut because their reader was too slow.")),
      sent_bytes(metrics.counter("ddpm_http_sent_bytes_total", "Bytes of bodies sent.")),
      open_connections(metrics.gauge("ddpm_http_connections", "Connections that are open.")),
      workers(options.worker_threads, options.limits.max_waiting_handlers,
              options.at_worker_start) {}

void HttpServiceState::record(const HttpAccessRecord& record) {
  static const std::vector<double> kSeconds{0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300};
  const std::string route = record.route.empty() ? "none" : record.route;
  metrics
      .counter("ddpm_http_requests_total", "Requests by route and status.",
               {{"route", route}, {"code", status_label(record.status)}})
      .add();
  metrics
      .histogram("ddpm_http_request_seconds", "From a request's head to the end of its answer.",
                 kSeconds, {{"route", route}})
      .observe(record.seconds);
  sent_bytes.add(static_cast<double>(record.sent_bytes));
  options.access_log(access_line(record));
}

}  // namespace ddpm
