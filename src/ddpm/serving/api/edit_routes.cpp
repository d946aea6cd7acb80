#include "ddpm/serving/api/edit_routes.h"

#include <memory>
#include <string>
#include <utility>

#include "ddpm/serving/api/edit_drawing.h"
#include "ddpm/serving/api/edit_queue.h"
#include "ddpm/serving/api/edit_task.h"
#include "ddpm/serving/api/upload_route.h"

namespace ddpm {
void add_edit_routes(HttpRouter& router, Service& service) {
  const auto queue = std::make_shared<EditQueue>(service);
  const auto thread = make_upload_thread();
  for (size_t i = 0; i < EnumNames<EditKind>::names.size(); ++i) {
    const auto kind = static_cast<EditKind>(i);
    add_upload_route(router, "/v1/edits/" + std::string(enum_word(kind)), thread,
                     [&service, kind, queue](const std::shared_ptr<const HttpRequest>& request,
                                             const HttpResponder& responder) {
                       EditTask task = parse_edit(kind, parse_form(*request), service);
                       check_edit(task);
                       queue->submit(std::move(task), request, responder);
                     });
  }
}

}  // namespace ddpm
