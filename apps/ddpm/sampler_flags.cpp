#include "sampler_flags.h"

#include <CLI/CLI.hpp>

#include "ddpm/config/config_docs.h"
#include "ddpm/config/field_list.h"
#include "ddpm/config/toml_config.h"

namespace ddpm::app {
namespace {

std::string plain_text(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_number_float() ? number_text(value.get<double>()) : value.dump();
}

/// What holds for any sampler of what a scheduler's file says: clipping and timesteps.
SamplerOptions for_another_sampler(const SamplerOptions& options) {
  return {.spacing = options.spacing,
          .steps_offset = options.steps_offset,
          .clip = options.clip,
          .clip_range = options.clip_range,
          .dynamic_ratio = options.dynamic_ratio,
          .dynamic_max = options.dynamic_max};
}

}  // namespace

void add_sampler_flags(CLI::App& command, SamplerFlags& flags) {
  SamplerOptions options;
  for (const Field& field : list_fields(options)) {
    const auto take = [&flags, key = field.key](const std::string& text) { flags[key] = text; };
    command
        .add_option_function<std::string>(sampler_flag(field.key), take,
                                          field.help + " (" + describe_type(field) + ")")
        ->type_name("VALUE")
        ->default_str(plain_text(field.get()))
        ->group("Sampler");
  }
}

SamplerOptions with_sampler_flags(SamplerOptions options, const SamplerFlags& flags) {
  const auto kind = flags.find("kind");
  if (kind != flags.end() && kind->second != enum_word(options.kind)) {
    options = for_another_sampler(options);
  }
  for (const auto& [key, text] : flags) {
    ConfigTree tree = parse_toml("", sampler_flag(key), {key + "=" + text});
    tree.origins[key] = sampler_flag(key);
    assign_fields(list_fields(options), tree);
  }
  return options;
}

TextChunks sampler_text(SamplerOptions options) {
  SamplerOptions defaults;
  const std::vector<Field> default_fields = list_fields(defaults);
  const std::vector<Field> fields = list_fields(options);
  TextChunks text;
  for (size_t i = 0; i < fields.size(); ++i) {
    const std::string& key = fields[i].key;
    if (key == "steps") continue;  // 0 stands for a number that the schedule decides
    const bool always = key == "kind" || key == "spacing" || key == "clip";
    if (!always && fields[i].get() == default_fields[i].get()) continue;
    text.emplace_back("ddpm." + (key == "kind" ? "sampler" : key), plain_text(fields[i].get()));
  }
  return text;
}

}  // namespace ddpm::app
