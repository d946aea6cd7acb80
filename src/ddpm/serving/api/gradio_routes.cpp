#include "ddpm/serving/api/gradio_routes.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <utility>

#include "ddpm/serving/api/gradio_calls.h"
#include "ddpm/serving/api/gradio_endpoint.h"
#include "ddpm/serving/api/gradio_reporter.h"
#include "ddpm/serving/api/gradio_sessions.h"
#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/job_requests.h"
#include "ddpm/serving/api/submit_job.h"
#include "ddpm/serving/http/http_json.h"
#include "ddpm/serving/http/http_stream.h"

namespace ddpm {
namespace {

using nlohmann::json;
using RequestPtr = std::shared_ptr<const HttpRequest>;

constexpr std::size_t kMaxSessionName = 128;
constexpr int64_t kMaxImageNumber = 1 << 30;

std::string session_of(const json& name) {
  if (name.is_string()) {
    const auto& text = name.get_ref<const std::string&>();
    if (!text.empty() && text.size() <= kMaxSessionName) return text;
  }
  throw HttpError(
      400, "invalid_request",
      "[session_hash] expected text of 1 to " + std::to_string(kMaxSessionName) + " bytes",
      "session_hash");
}

json member_of(const json& body, const char* name) {
  return body.is_object() ? body.value(name, json()) : json();
}

void join_queue(Service& service, GradioSessions& sessions, const HttpRequest& request,
                const HttpResponder& responder) {
  const json body = parse_client_json(request.body);
  const std::string session = session_of(member_of(body, "session_hash"));
  const json function = member_of(body, "fn_index");
  if (!function.is_null() && function != 0) {
    throw HttpError(404, "not_found", "[fn_index] expected 0: there is one function", "fn_index");
  }
  JobRequest job_request = parse_gradio_call(service, gradio_data(request));
  sessions.make_room();
  const JobId id = submit_job(service, std::move(job_request)).id;
  // A client may open its stream, and leave it, as soon as it has the answer.
  sessions.join(session, id, gradio_address(request));
  responder.send(json_response(200, json{{"event_id", id}}.dump()));
  sessions.tell(session, id);
}

HttpResponse event_stream(std::shared_ptr<HttpStream> stream, std::string ping) {
  HttpResponse response;
  response.body = HttpStreamBody{.stream = std::move(stream), .ping = std::move(ping)};
  response.media_type = "text/event-stream";
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

HttpResponse queue_data(GradioSessions& sessions, const HttpRequest& request) {
  const auto name = request.query.find("session_hash");
  const std::string session = session_of(name == request.query.end() ? json() : json(name->second));
  // No comments as pings: Python's client takes them for a broken stream.
  return event_stream(sessions.open(session), sse_event("", R"({"msg":"heartbeat"})"));
}

/// As long as the client stays: one that is sent away comes again at once, and again.
HttpResponse heartbeat() {
  auto stream = std::make_shared<HttpStream>();
  stream->write(sse_event("", "ALIVE"));
  return event_stream(std::move(stream), sse_event("", "ALIVE"));
}

void cancel_event(Service& service, const HttpRequest& request, const HttpResponder& responder) {
  const json id = member_of(parse_client_json(request.body), "event_id");
  if (id.is_string()) cancel_gradio_job(service, id.get<std::string>());
  responder.send(json_response(200, R"({"success":true})"));
}

/// img/JOB/0.png, as gradio_outputs() names it.
HttpResponse get_file(const Service& service, const HttpRequest& request) {
  const HttpError absent(404, "not_found", "There is no such file, or no longer.");
  const std::string& path = request.parameters.at("path");
  const std::size_t slash = path.rfind('/');
  constexpr std::string_view kFolder = "img/";
  if (!path.starts_with(kFolder) || slash < kFolder.size() || slash == path.npos) throw absent;
  const auto job = service.jobs.find(path.substr(kFolder.size(), slash - kFolder.size()));
  const std::string name = path.substr(slash + 1);
  int64_t number = -1;
  const auto [rest, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (!job || error != std::errc() || number < 0 || number > kMaxImageNumber) throw absent;
  const auto found = job->images.find(number);
  if (found == job->images.end()) throw absent;
  const std::shared_ptr<const JobImage>& image = found->second;
  if (name != std::to_string(number) + "." + extension_of(image->media_type)) throw absent;
  HttpResponse response;
  response.body = SharedBytes(image, &image->bytes);
  response.media_type = image->media_type;
  response.etag = "\"" + job->id + "-" + std::to_string(number) + "\"";
  response.headers.emplace_back("Cache-Control", "private, max-age=3600");
  return response;
}

void add_descriptions(HttpRouter& router, const Service& service, const std::string& prefix,
                      const std::string& app_id) {
  router.add(HttpMethod::kGet, prefix + "/config", HttpAccess::kKey,
             [&service, app_id](const HttpRequest&) {
               return json_response(200, gradio_config(service, app_id).dump());
             });
  router.add(HttpMethod::kGet, prefix + "/info", HttpAccess::kKey, [&service](const HttpRequest&) {
    return json_response(200, gradio_info(service).dump());
  });
  router.add(HttpMethod::kGet, prefix + "/app_id", HttpAccess::kKey, [app_id](const HttpRequest&) {
    return json_response(200, json{{"app_id", app_id}}.dump());
  });
}

void add_queue(HttpRouter& router, Service& service,
               const std::shared_ptr<GradioSessions>& sessions, const std::string& prefix) {
  router.add({.method = HttpMethod::kPost,
              .pattern = prefix + "/queue/join",
              .access = HttpAccess::kKey,
              .handler = as_gradio(
                  [&service, sessions](const RequestPtr& request, const HttpResponder& responder) {
                    join_queue(service, *sessions, *request, responder);
                  }),
              .max_body_bytes = HttpRouter::kJsonBodyBytes,
              .on_worker = true});
  router.add(HttpMethod::kGet, prefix + "/queue/data", HttpAccess::kKey,
             [sessions](const HttpRequest& request) { return queue_data(*sessions, request); });
  router.add(HttpMethod::kGet, prefix + "/heartbeat/{session}", HttpAccess::kKey,
             [](const HttpRequest&) { return heartbeat(); });
  for (const char* name : {"/cancel", "/reset"}) {
    router.add({.method = HttpMethod::kPost,
                .pattern = prefix + name,
                .access = HttpAccess::kPublic,
                .handler = as_gradio(
                    [&service](const RequestPtr& request, const HttpResponder& responder) {
                      cancel_event(service, *request, responder);
                    }),
                .max_body_bytes = HttpRouter::kJsonBodyBytes,
                .on_worker = true});
  }
}

}  // namespace

void add_gradio_routes(HttpRouter& router, Service& service) {
  const auto sessions = std::make_shared<GradioSessions>(service);
  const std::string app_id = random_job_id();
  for (const std::string prefix : {kGradioPrefix, ""}) {
    add_descriptions(router, service, prefix, app_id);
    add_queue(router, service, sessions, prefix);
    add_gradio_call_routes(router, service, prefix);
    for (const char* pattern : {"/file={path...}", "/file/{path...}"}) {
      router.add(HttpMethod::kGet, prefix + pattern, HttpAccess::kPublic,
                 [&service](const HttpRequest& request) { return get_file(service, request); });
    }
  }
}

}  // namespace ddpm
