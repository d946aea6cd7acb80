#include "ddpm/serving/api/gradio_parameters.h"

#include <algorithm>

#include "ddpm/config/sample_config.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr int64_t kDefaultImages = 4;

/// Of the models that draw from noise alone: the endpoint takes no image.
json model_ids(const Service& service) {
  json ids = json::array();
  for (const auto& model : service.models.list()) {
    if (model->super_resolution == 0) ids.push_back(model->id);
  }
  return ids;
}

json sampler_words() {
  json words = json::array();
  for (const char* word : EnumNames<SamplerKind>::names) words.push_back(word);
  return words;
}

}  // namespace

std::vector<GradioParameter> gradio_parameters(const Service& service) {
  const json ids = model_ids(service);
  const json first = ids.empty() ? json() : ids.front();
  const auto member = [](const char* text) { return json::json_pointer(text); };
  return {
      {"model", "Dropdown", "string", "str", "id of a model", first, first, ids, member("/model")},
      {"n",
       "Number",
       "integer",
       "int",
       "how many images",
       std::min(kDefaultImages, service.limits.max_images),
       kDefaultImages,
       {},
       member("/num_images")},
      {"seed",
       "Number",
       "integer",
       "int | None",
       "the same seed draws the same images; none: a new one",
       nullptr,
       7,
       {},
       member("/seed")},
      {"steps",
       "Number",
       "integer",
       "int | None",
       "noise levels; none: the sampler's own",
       nullptr,
       20,
       {},
       member("/sampler/steps")},
      {"sampler", "Dropdown", "string", "str | None", "none: the model's own", nullptr, "dpmpp_2m",
       sampler_words(), member("/sampler/kind")},
      {"class_name",
       "Textbox",
       "string",
       "str | None",
       "a class's name or number; none: each class in turn",
       nullptr,
       "0",
       {},
       member("/class")},
      {"guidance",
       "Number",
       "number",
       "float",
       "1: none; more: closer to the class",
       1,
       1,
       {},
       member("/guidance/scale")}};
}

}  // namespace ddpm
