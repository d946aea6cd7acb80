#pragma once

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// For those who run the server:
///
///     GET /livez    200 while the process answers.                                     public
///     GET /readyz   200 where a new request would be taken in; else 503 with why: the  public
///                   server drains, it has no model, or its device fails every call.
///     GET /metrics  Prometheus' text format: HTTP, engine, jobs, process.              key
void add_ops_routes(HttpRouter& router, Service& service);

/// So many failed network calls in a row, and the device is taken for lost: it does not come back
/// in this process.
inline constexpr uint64_t kLostDeviceCalls = 5;

}  // namespace ddpm
