#include "ddpm/serving/api/edit_routes.h"

#include <memory>
#include <string>
#include <utility>

#include "ddpm/serving/api/edit_drawing.h"
#include "ddpm/serving/api/edit_queue.h"
#include "ddpm/serving/api/edit_task.h"

namespace ddpm {
namespace {

void add_edit_route(HttpRouter& router, Service& service, EditKind kind,
                    const std::shared_ptr<EditQueue>& queue) {
  router.add({.method = HttpMethod::kPost,
              .pattern = "/v1/edits/" + std::string(enum_word(kind)),
              .access = HttpAccess::kKey,
              .handler =
                  [&service, kind, queue](const std::shared_ptr<const HttpRequest>& request,
                                          const HttpResponder& responder) {
                    EditTask task = parse_edit(kind, parse_form(*request), service);
                    check_edit(task);
                    queue->submit(std::move(task), request, responder);
                  },
              .max_body_bytes = kMaxFormBytes,
              .media_types = {"multipart/form-data"},
              .on_worker = true});
}

}  // namespace

void add_edit_routes(HttpRouter& router, Service& service) {
  const auto queue = std::make_shared<EditQueue>(service);
  for (size_t i = 0; i < EnumNames<EditKind>::names.size(); ++i) {
    add_edit_route(router, service, static_cast<EditKind>(i), queue);
  }
}

}  // namespace ddpm
