#include "ddpm/config/printable.h"

#include "ddpm/core/one_line.h"

namespace ddpm {

std::string describe_json(const nlohmann::json& value) {
  return one_line(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace ddpm
