#include "ddpm/serving/api/native_routes.h"

namespace ddpm {

void add_native_routes(HttpRouter& router, Service& service) {
  add_model_routes(router, service);
  add_job_routes(router, service);
  add_result_routes(router, service);
  add_event_routes(router, service);
  add_generate_route(router, service);
}

}  // namespace ddpm
