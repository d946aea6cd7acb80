#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/serving/api/served_model.h"

namespace ddpm {

/// The labels that a request's "class" means: a name or a number for all images, or a list of
/// either with one for each; absent (null), each class in turn by the image's number, as `ddpm
/// sample` does. "none" is the null class, where the model has one.
///
/// @return [num_images], or empty for a model without classes.
/// @throws HttpError 422 that names the field, what was expected and what came.
std::vector<int64_t> parse_class_labels(const nlohmann::json& value, const ServedModel& model,
                                        int64_t num_images, uint64_t first_image);

/// What clients call a label.
std::string name_of_class(const ServedModel& model, int64_t label);

}  // namespace ddpm
