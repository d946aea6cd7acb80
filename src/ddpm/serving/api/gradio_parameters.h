#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "ddpm/serving/api/service.h"

namespace ddpm {

/// A parameter, and the member of a generation's JSON that it sets.
struct GradioParameter {
  std::string name, component, json_type, python_type, help;
  nlohmann::json value;    ///< Default; null: the model's.
  nlohmann::json example;  ///< As a client would write it.
  nlohmann::json words = nlohmann::json::array();
  nlohmann::json::json_pointer member;  ///< Of a generation: docs/http_api.md.
};

/// Those of the one function, in their order (gradio_endpoint.h).
std::vector<GradioParameter> gradio_parameters(const Service& service);

}  // namespace ddpm
