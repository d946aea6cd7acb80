#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string_view>

namespace ddpm {

struct JsonLimits {
  size_t max_bytes = 64 << 10;
  size_t max_depth = 32;
  size_t max_values = 10'000;  ///< values and names together
};

/// One JSON value from a client [RFC 8259], an integer where it is written as one and fits 64 bits.
/// @throws HttpError 400: not JSON, text after it, nested too deep, too many values, a name given
///         twice in an object, bad UTF-8, or a number that no double holds; 413: too long.
nlohmann::json parse_client_json(std::string_view text, const JsonLimits& limits = {});

}  // namespace ddpm
