#include "ddpm/serving/api/generation_classes.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

#include "ddpm/config/nearest_name.h"
#include "ddpm/core/one_line.h"
#include "ddpm/serving/http/http_message.h"

namespace ddpm {
namespace {

constexpr std::size_t kMaxNamesTold = 20;
constexpr const char* kNoClass = "none";

std::string known_classes(const ServedModel& model) {
  const std::string range = "a number from 0 to " + std::to_string(model.num_classes - 1);
  if (model.class_names.size() > kMaxNamesTold) return range + ", or the name of a class";
  std::string names;
  for (const std::string& name : model.class_names) names += (names.empty() ? "" : ", ") + name;
  return range + ", or one of " + names;
}

[[noreturn]] void refuse_class(const std::string& field, const ServedModel& model,
                               const std::string& given, const std::string& name = {}) {
  throw HttpError(422, "invalid_request",
                  "[" + field + "] expected " + known_classes(model) + ", got " + one_line(given) +
                      suggest_name(name, model.class_names),
                  field);
}

int64_t label_of_name(const std::string& field, const ServedModel& model, const std::string& name) {
  const auto found = std::find(model.class_names.begin(), model.class_names.end(), name);
  if (found != model.class_names.end()) return found - model.class_names.begin();
  if (name == kNoClass && model.null_class >= 0) return model.null_class;
  int64_t label = -1;
  const char* const end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data(), end, label);
  const bool is_label =
      error == std::errc() && rest == end && label >= 0 && label < model.num_classes;
  if (!is_label) refuse_class(field, model, "'" + name + "'", name);
  return label;
}

int64_t label_of(const std::string& field, const ServedModel& model, const nlohmann::json& value) {
  if (value.is_string()) return label_of_name(field, model, value.get<std::string>());
  const bool is_label = value.is_number_integer() && value >= 0 && value < model.num_classes;
  if (!is_label) refuse_class(field, model, value.dump());
  return value.get<int64_t>();
}

std::vector<int64_t> labels_in_turn(const ServedModel& model, int64_t num_images,
                                    uint64_t first_image) {
  std::vector<int64_t> labels;
  for (uint64_t i = 0; i < static_cast<uint64_t>(num_images); ++i) {
    labels.push_back(
        static_cast<int64_t>((first_image + i) % static_cast<uint64_t>(model.num_classes)));
  }
  return labels;
}

}  // namespace

std::vector<int64_t> parse_class_labels(const nlohmann::json& value, const ServedModel& model,
                                        int64_t num_images, uint64_t first_image) {
  if (model.num_classes == 0) {
    if (value.is_null()) return {};
    throw HttpError(422, "invalid_request",
                    "[class] expected none: the model was trained without classes", "class");
  }
  if (value.is_null()) return labels_in_turn(model, num_images, first_image);
  if (!value.is_array()) {
    return std::vector<int64_t>(static_cast<std::size_t>(num_images),
                                label_of("class", model, value));
  }
  if (value.size() != static_cast<std::size_t>(num_images)) {
    throw HttpError(422, "invalid_request",
                    "[class] expected one class, or one for each of " + std::to_string(num_images) +
                        " images, got " + std::to_string(value.size()),
                    "class");
  }
  std::vector<int64_t> labels;
  for (const nlohmann::json& each : value) {
    labels.push_back(label_of("class[" + std::to_string(labels.size()) + "]", model, each));
  }
  return labels;
}

std::string name_of_class(const ServedModel& model, int64_t label) {
  if (label == model.null_class) return kNoClass;
  return model.class_names.at(static_cast<std::size_t>(label));
}

}  // namespace ddpm
