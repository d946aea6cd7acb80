#include "ddpm/serving/api/all_routes.h"

#include "ddpm/serving/api/edit_routes.h"
#include "ddpm/serving/api/forward_routes.h"
#include "ddpm/serving/api/gradio_routes.h"
#include "ddpm/serving/api/native_routes.h"
#include "ddpm/serving/api/openai_routes.h"
#include "ddpm/serving/api/openapi.h"
#include "ddpm/serving/api/ops_routes.h"
#include "ddpm/serving/site/site_routes.h"

namespace ddpm {

HttpRouter all_routes(Service& service) {
  HttpRouter router;
  add_native_routes(router, service);
  add_openai_routes(router, service);
  add_gradio_routes(router, service);
  add_edit_routes(router, service);
  add_forward_routes(router);
  add_ops_routes(router, service);
  add_site_routes(router);
  add_openapi_route(router, service);  // of all that are there
  return router;
}

}  // namespace ddpm
