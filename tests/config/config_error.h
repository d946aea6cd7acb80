#pragma once

#include <stdexcept>
#include <string>

namespace ddpm::testing {

/// The message of the std::invalid_argument that `call` throws; "no error" if it throws none.
template <typename Call>
std::string config_error(Call&& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace ddpm::testing
