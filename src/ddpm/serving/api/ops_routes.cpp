#include "ddpm/serving/api/ops_routes.h"

#include <utility>

#include "ddpm/serving/api/service_metrics.h"

namespace ddpm {
namespace {

HttpResponse readiness(const Service& service) {
  if (service.is_draining) throw HttpError(503, "draining", "The server is shutting down.");
  if (service.models.list().empty()) {
    throw HttpError(503, "not_ready", "There is no model to draw with.");
  }
  if (service.engine.stats().failed_calls_in_row >= kLostDeviceCalls) {
    throw HttpError(503, "not_ready",
                    "Every network call fails: the server must be started again.");
  }
  return json_response(200, R"({"status":"ok"})");
}

}  // namespace

void add_ops_routes(HttpRouter& router, Service& service) {
  router.add(HttpMethod::kGet, "/livez", HttpAccess::kPublic,
             [](const HttpRequest&) { return json_response(200, R"({"status":"ok"})"); });
  router.add(HttpMethod::kGet, "/readyz", HttpAccess::kPublic,
             [&service](const HttpRequest&) { return readiness(service); });
  router.add(HttpMethod::kGet, "/metrics", HttpAccess::kKey, [&service](const HttpRequest&) {
    std::string text = service.metrics.prometheus_text();
    text += engine_metrics(service.engine.stats());
    text += jobs_metrics(service.jobs.stats());
    text += process_metrics(service.version);
    return HttpResponse{.headers = {{"Cache-Control", "no-store"}},
                        .body = std::move(text),
                        .media_type = "text/plain; version=0.0.4; charset=utf-8"};
  });
}

}  // namespace ddpm
