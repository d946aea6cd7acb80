#pragma once

#include <functional>
#include <memory>
#include <string>

#include "ddpm/serving/http/http_router.h"
#include "ddpm/serving/http/http_workers.h"

namespace ddpm {

/// A POST route that takes a form with pictures, for who has a key.
///
/// Decoding a picture of 16 million pixels takes a good part of a second, so that two of them would
/// keep the server's workers from all other requests: uploads have a thread of their own.
///
/// @param thread  runs the handler; 429 where too many wait for it.
/// @param handler answers, now or later; what it throws is answered as by any route.
void add_upload_route(HttpRouter& router, const std::string& pattern,
                      const std::shared_ptr<HttpWorkers>& thread, HttpLaterHandler handler);

/// One thread for add_upload_route(), for which 8 may wait.
std::shared_ptr<HttpWorkers> make_upload_thread();

}  // namespace ddpm
