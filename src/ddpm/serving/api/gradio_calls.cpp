#include "ddpm/serving/api/gradio_calls.h"

#include <nlohmann/json.hpp>

#include <utility>

#include "ddpm/serving/api/gradio_endpoint.h"
#include "ddpm/serving/api/gradio_reporter.h"
#include "ddpm/serving/api/gradio_sessions.h"
#include "ddpm/serving/api/job_requests.h"
#include "ddpm/serving/api/submit_job.h"
#include "ddpm/serving/http/http_json.h"
#include "ddpm/serving/http/http_stream.h"

namespace ddpm {
namespace {

using nlohmann::json;
using RequestPtr = std::shared_ptr<const HttpRequest>;

json call_body(const HttpRequest& request) {
  json body = parse_client_json(request.body);
  if (!body.is_object()) {
    throw HttpError(400, "invalid_request", "[body] expected a JSON object");
  }
  return body;
}

/// One job's messages as /call tells them: values in full, and neither progress nor positions.
void write_call_event(const std::optional<json>& message, HttpStream& stream) {
  if (!message) return;
  const std::string& name = message->at("msg").get_ref<const std::string&>();
  if (name == "process_generating") {
    stream.write_latest("generating",
                        sse_event("generating", message->at("output").at("data").dump()));
  } else if (name == "process_completed") {
    const json& output = message->at("output");
    const bool has_data = output.contains("data");
    stream.write(sse_event(has_data ? "complete" : "error", has_data ? output.at("data").dump()
                                                            : output.empty() ? "null"
                                                                             : output.dump()));
    stream.close();
  }
}

HttpResponse call_events(Service& service, const HttpRequest& request) {
  const JobId& id = request.parameters.at("event_id");
  auto stream = std::make_shared<HttpStream>();
  const auto reporter = std::make_shared<GradioReporter>(service, id, gradio_address(request));
  const auto watch = service.watcher.watch(id, 0, [reporter, stream](const JobEvent& event) {
    write_call_event(reporter->message_of(event), *stream);
  });
  if (watch == nullptr) throw no_such_job();
  stream->on_gone([&service, id, watch] {
    service.watcher.run([&service, id] { cancel_gradio_job(service, id); });
  });
  HttpResponse response;
  response.body =
      HttpStreamBody{.stream = std::move(stream), .ping = "event: heartbeat\ndata: null\n\n"};
  response.media_type = "text/event-stream";
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

HttpResponse run_response(const Service& service, const JobId& id, const std::string& address) {
  const auto job = service.jobs.find(id);
  if (!job || job->state != JobState::kSucceeded) {
    const HttpError error =
        job ? error_of_job(*job) : HttpError(409, "cancelled", "The job was cancelled.");
    HttpResponse response = gradio_error_response(error);
    response.body = json{{"error", error.what()}, {"detail", error.what()}}.dump();
    return response;
  }
  const double seconds = gradio_duration_s(*job);
  return json_response(200, json{{"data", gradio_outputs(*job, address)},
                                 {"is_generating", false},
                                 {"duration", seconds},
                                 {"average_duration", seconds}}
                                .dump());
}

void run_call(Service& service, const RequestPtr& request, const HttpResponder& responder) {
  const JobId id = submit_job(service, parse_gradio_call(service, gradio_data(*request))).id;
  const auto watch = service.watcher.watch(
      id, 0, [&service, id, address = gradio_address(*request), responder](const JobEvent& event) {
        if (event.kind == JobEvent::Kind::kEnd) responder.send(run_response(service, id, address));
      });
  if (watch == nullptr) throw no_such_job();
  responder.on_gone([&service, id, watch] {
    service.watcher.run([&service, id] { cancel_gradio_job(service, id); });
  });
}

void begin_call(Service& service, const json& arguments, const HttpResponder& responder) {
  const JobSnapshot job = submit_job(service, parse_gradio_call(service, arguments));
  responder.send(json_response(200, json{{"event_id", job.id}}.dump()));
}

HttpRoute call_route(const std::string& pattern, HttpLaterHandler handler) {
  return {.method = HttpMethod::kPost,
          .pattern = pattern,
          .access = HttpAccess::kKey,
          .handler = as_gradio(std::move(handler)),
          .max_body_bytes = HttpRouter::kJsonBodyBytes,
          .on_worker = true};
}

}  // namespace

json gradio_data(const HttpRequest& request) {
  return call_body(request).value("data", json::array());
}

HttpLaterHandler as_gradio(HttpLaterHandler handler) {
  return [handler = std::move(handler)](const RequestPtr& request, const HttpResponder& responder) {
    try {
      handler(request, responder);
    } catch (const HttpError& error) {
      responder.send(gradio_error_response(error));
    }
  };
}

void add_gradio_call_routes(HttpRouter& router, Service& service, const std::string& prefix) {
  const std::string name = kGradioEndpoint;
  router.add(call_route(prefix + "/call/" + name,
                        [&service](const RequestPtr& request, const HttpResponder& responder) {
                          begin_call(service, gradio_data(*request), responder);
                        }));
  router.add(call_route(prefix + "/call/v2/" + name,
                        [&service](const RequestPtr& request, const HttpResponder& responder) {
                          begin_call(service, call_body(*request), responder);
                        }));
  for (const char* version : {"/call/", "/call/v2/"}) {
    router.add(HttpMethod::kGet, prefix + version + name + "/{event_id}", HttpAccess::kKey,
               [&service](const HttpRequest& request) { return call_events(service, request); });
  }
  for (const char* verb : {"/run/", "/api/"}) {
    router.add(call_route(prefix + verb + name,
                          [&service](const RequestPtr& request, const HttpResponder& responder) {
                            run_call(service, request, responder);
                          }));
  }
}

}  // namespace ddpm
