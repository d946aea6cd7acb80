#include "ddpm/serving/api/upload_route.h"

#include <exception>
#include <utility>

#include "ddpm/core/device.h"
#include "ddpm/core/log.h"
#include "ddpm/serving/api/form.h"

namespace ddpm {
namespace {

constexpr int kMaxWaitingUploads = 8;

void handle_upload(const HttpLaterHandler& handler,
                   const std::shared_ptr<const HttpRequest>& request,
                   const HttpResponder& responder) {
  if (responder.is_gone()) return;
  try {
    handler(request, responder);
  } catch (const HttpError& error) {
    responder.send(error, *request);
  } catch (const std::exception& error) {
    log_error("[upload] id " + request->request_id + ": " + error.what());
    responder.send(HttpError(500, "internal", "Something went wrong inside."), *request);
  }
}

}  // namespace

std::shared_ptr<HttpWorkers> make_upload_thread() {
  return std::make_shared<HttpWorkers>(/*num_threads=*/1, kMaxWaitingUploads,
                                       compute_in_this_thread_alone);
}

void add_upload_route(HttpRouter& router, const std::string& pattern,
                      const std::shared_ptr<HttpWorkers>& thread, HttpLaterHandler handler) {
  router.add(
      {.method = HttpMethod::kPost,
       .pattern = pattern,
       .access = HttpAccess::kKey,
       .handler =
           [thread, handler = std::move(handler)](const std::shared_ptr<const HttpRequest>& request,
                                                  const HttpResponder& responder) {
             const bool is_taken = thread->submit(
                 [handler, request, responder] { handle_upload(handler, request, responder); });
             if (is_taken) return;
             HttpError error(429, "queue_full", "Too many uploads wait: try again later.");
             error.headers.emplace_back("Retry-After", "2");
             throw error;
           },
       .max_body_bytes = kMaxFormBytes,
       .media_types = {"multipart/form-data"}});
}

}  // namespace ddpm
