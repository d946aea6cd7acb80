#include "ddpm/serving/api/gradio_endpoint.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "ddpm/core/one_line.h"
#include "ddpm/serving/api/generation_options.h"
#include "ddpm/serving/api/gradio_parameters.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr int kUnprocessable = 422;
// Of the protocol: clients read what they may ask for from it.
constexpr const char* kGradioVersion = "6.25.0";
constexpr int kGalleryId = 101;
constexpr int kInfoId = 102;

json component_json(int id, const GradioParameter& parameter) {
  json props{{"label", parameter.name}, {"info", parameter.help}, {"value", parameter.value}};
  if (parameter.component == "Dropdown") {
    props["choices"] = json::array();
    for (const json& word : parameter.words) props["choices"].push_back({word, word});
  }
  std::string type = parameter.component;
  type[0] = static_cast<char>(type[0] | 0x20);
  return {{"id", id}, {"type", type}, {"props", std::move(props)}};
}

json parameter_info(const GradioParameter& parameter) {
  json type{{"type", parameter.json_type}};
  if (!parameter.words.empty()) type["enum"] = parameter.words;
  return {{"label", parameter.name},
          {"parameter_name", parameter.name},
          {"parameter_has_default", true},
          {"parameter_default", parameter.value},
          {"component", parameter.component},
          {"type", std::move(type)},
          {"python_type", {{"type", parameter.python_type}, {"description", parameter.help}}},
          {"example_input", parameter.example}};
}

[[noreturn]] void refuse_arguments(const std::string& message) {
  throw HttpError(kUnprocessable, "invalid_request", "[data] " + message, "data");
}

/// The arguments in the parameters' order; null where there is none.
json arguments_in_order(const std::vector<GradioParameter>& parameters, const json& arguments) {
  json ordered(parameters.size(), json());
  if (arguments.is_array()) {
    if (arguments.size() > parameters.size()) {
      refuse_arguments("expected at most " + std::to_string(parameters.size()) +
                       " arguments, got " + std::to_string(arguments.size()));
    }
    std::copy(arguments.begin(), arguments.end(), ordered.begin());
    return ordered;
  }
  if (!arguments.is_object()) refuse_arguments("expected an array or an object of arguments");
  for (const auto& [name, value] : arguments.items()) {
    const auto found =
        std::find_if(parameters.begin(), parameters.end(),
                     [&, &wanted = name](const GradioParameter& p) { return p.name == wanted; });
    if (found == parameters.end()) refuse_arguments("unknown argument '" + one_line(name) + "'");
    ordered[static_cast<std::size_t>(found - parameters.begin())] = value;
  }
  return ordered;
}

/// The parameter that a generation's field belongs to: "sampler.steps" to "steps".
std::string parameter_of_field(const std::vector<GradioParameter>& parameters,
                               const std::string& field) {
  std::string pointer = "/" + field.substr(0, field.find('['));
  std::replace(pointer.begin(), pointer.end(), '.', '/');
  for (const GradioParameter& parameter : parameters) {
    if (parameter.member.to_string() == pointer) return parameter.name;
  }
  for (const GradioParameter& parameter : parameters) {
    if (parameter.name == field) return parameter.name;
  }
  return "data";
}

}  // namespace

json gradio_config(const Service& service, const std::string& app_id) {
  json components = json::array();
  json inputs = json::array();
  for (const GradioParameter& parameter : gradio_parameters(service)) {
    const int id = static_cast<int>(inputs.size()) + 1;
    components.push_back(component_json(id, parameter));
    inputs.push_back(id);
  }
  components.push_back({{"id", kGalleryId}, {"type", "gallery"}, {"props", {{"label", "images"}}}});
  components.push_back({{"id", kInfoId}, {"type", "json"}, {"props", {{"label", "info"}}}});
  json generate{{"id", 0},
                {"api_name", kGradioEndpoint},
                {"inputs", std::move(inputs)},
                {"outputs", {kGalleryId, kInfoId}},
                {"backend_fn", true},
                {"queue", true},
                {"api_visibility", "public"},
                {"show_api", true},
                {"targets", json::array()},
                {"cancels", json::array()},
                {"types", {{"generator", true}, {"cancel", false}}},
                {"connection", "sse"}};
  return {{"version", kGradioVersion},
          {"protocol", "sse_v3"},
          {"api_prefix", kGradioPrefix},
          {"app_id", app_id},
          {"enable_queue", true},
          {"connect_heartbeat", false},
          {"run_history", false},  // else browsers keep each image in a database of theirs
          {"max_file_size", nullptr},
          {"space_id", nullptr},
          {"title", "ddpm"},
          {"components", std::move(components)},
          {"dependencies", json::array({std::move(generate)})}};
}

json gradio_info(const Service& service) {
  json parameters = json::array();
  for (const GradioParameter& each : gradio_parameters(service)) {
    parameters.push_back(parameter_info(each));
  }
  const auto output = [](const char* label, const char* component, json type, const char* python) {
    return json{{"label", label},
                {"component", component},
                {"type", std::move(type)},
                {"python_type", {{"type", python}, {"description", ""}}}};
  };
  json returns = json::array({output("images", "Gallery", {{"type", "array"}},
                                     "list[dict(image: filepath, caption: str | None)]"),
                              output("info", "Json", json::object(), "dict")});
  return {{"named_endpoints",
           {{std::string("/") + kGradioEndpoint,
             {{"description", "Draws images from noise."},
              {"parameters", std::move(parameters)},
              {"returns", std::move(returns)}}}}},
          {"unnamed_endpoints", json::object()}};
}

JobRequest parse_gradio_call(const Service& service, const json& arguments) {
  const auto parameters = gradio_parameters(service);
  const json ordered = arguments_in_order(parameters, arguments);
  json body{{"format", "png"}, {"previews", true}};
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const bool is_empty = ordered[i].is_null() || ordered[i] == "";
    const json& value = is_empty ? parameters[i].value : ordered[i];
    if (!value.is_null()) body[parameters[i].member] = value;
  }
  try {
    return parse_generation(body, service.models, service.limits);
  } catch (const HttpError& error) {
    throw HttpError(kUnprocessable, error.code, error.what(),
                    parameter_of_field(parameters, error.field));
  }
}

HttpResponse gradio_error_response(const HttpError& error) {
  json detail = error.what();
  int status = error.status == 429 ? 503 : error.status;
  const bool is_invalid = status == 404 && error.code == "unknown_model";
  if (is_invalid) status = kUnprocessable;
  if (status == kUnprocessable) {
    detail = json::array({{{"__type__", "validate"},
                           {"is_valid", false},
                           {"parameter_name", error.field.empty() ? "data" : error.field},
                           {"message", error.what()}}});
  }
  HttpResponse response = json_response(status, json{{"detail", std::move(detail)}}.dump());
  response.headers = error.headers;
  return response;
}

}  // namespace ddpm
