#include "sampler_flags.h"

#include <CLI/CLI.hpp>

#include "ddpm/config/config_docs.h"
#include "ddpm/config/field_list.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/sampling/sampler_options.h"

namespace ddpm::app {

void add_sampler_flags(CLI::App& command, SamplerFlags& flags) {
  SamplerOptions options;
  for (const Field& field : list_fields(options)) {
    const auto take = [&flags, key = field.key](const std::string& text) { flags[key] = text; };
    command
        .add_option_function<std::string>(sampler_flag(field.key), take,
                                          field.help + " (" + describe_type(field) + ")")
        ->type_name("VALUE")
        ->default_str(field_text(field))
        ->group("Sampler");
  }
}

SamplerOptions with_sampler_flags(SamplerOptions options, const SamplerFlags& flags) {
  SamplerOptions named = options;
  const auto set = [&flags](const std::string& key, SamplerOptions& target) {
    ConfigTree tree = parse_toml("", sampler_flag(key), {key + "=" + flags.at(key)});
    tree.origins[key] = sampler_flag(key);
    assign_fields(list_fields(target), tree);
  };
  if (flags.contains("kind")) set("kind", named);
  options = options_for_sampler(options, named.kind);
  for (const auto& [key, text] : flags) set(key, options);
  return options;
}

}  // namespace ddpm::app
