#pragma once

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// Every route of `ddpm serve`. The service must outlive the server.
HttpRouter all_routes(Service& service);

}  // namespace ddpm
