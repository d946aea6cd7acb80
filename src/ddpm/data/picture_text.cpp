#include "ddpm/data/picture_text.h"

#include <c10/util/StringUtil.h>

#include "ddpm/config/config_docs.h"

namespace ddpm {
namespace {

void append_sampler(TextChunks& text, SamplerOptions options) {
  SamplerOptions defaults;
  const std::vector<Field> default_fields = list_fields(defaults);
  const std::vector<Field> fields = list_fields(options);
  for (size_t i = 0; i < fields.size(); ++i) {
    const std::string& key = fields[i].key;
    if (key == "steps") continue;  // 0 stands for a number that the schedule decides
    const bool always = key == "kind" || key == "spacing" || key == "clip";
    if (!always && fields[i].get() == default_fields[i].get()) continue;
    text.emplace_back("ddpm." + (key == "kind" ? "sampler" : key), field_text(fields[i]));
  }
}

void append_guidance(TextChunks& text, const GuidanceOptions& guidance) {
  if (guidance.scale != 1) text.emplace_back("ddpm.guidance", c10::str(guidance.scale));
  if (guidance.rescale > 0) text.emplace_back("ddpm.guidance_rescale", c10::str(guidance.rescale));
  if (guidance.interval.empty()) return;
  text.emplace_back("ddpm.guidance_interval",
                    c10::str(guidance.interval.at(0), ",", guidance.interval.at(1)));
}

}  // namespace

TextChunks origin_text(const PictureOrigin& origin) {
  TextChunks text{{"Software", "ddpm.cpp"},
                  {"ddpm.model", origin.model_hash},
                  {"ddpm.steps", std::to_string(origin.steps)}};
  append_sampler(text, origin.sampler);
  if (!origin.class_name.empty()) text.emplace_back("ddpm.class", origin.class_name);
  append_guidance(text, origin.guidance);
  return text;
}

TextChunks seed_text(uint64_t seed, uint64_t first_image) {
  return {{"ddpm.seed", std::to_string(seed)}, {"ddpm.first_image", std::to_string(first_image)}};
}

}  // namespace ddpm
