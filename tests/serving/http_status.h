#pragma once

#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// The status that `action` is refused with; 0: it isn't.
template <typename Action>
int status_of(const Action& action) {
  try {
    action();
  } catch (const HttpError& error) {
    return error.status;
  }
  return 0;
}

}  // namespace ddpm
