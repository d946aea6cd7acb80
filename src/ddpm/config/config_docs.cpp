#include "ddpm/config/config_docs.h"

#include <algorithm>

#include "ddpm/config/run_config.h"
#include "ddpm/config/sample_config.h"

namespace ddpm {
namespace {

/// A table's cell: '|' would end it.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char letter : text) {
    if (letter == '|') escaped += '\\';
    escaped += letter;
  }
  return escaped;
}

std::string default_text(const Field& field) {
  const nlohmann::json value = field.get();
  return value.is_number_float() ? number_text(value.get<double>()) : value.dump();
}

constexpr const char* kIntroduction =
    R"(# Options of a recipe

<!-- Written by the program, so don't edit it. After a change of a field list in src/ddpm/config/:
DDPM_UPDATE_DOCS=1 build/release/tests/config/config_test --gtest_filter='ConfigDocsTest.*' -->

A recipe is a TOML file for `ddpm train`. Every field may be left out; it then has its default. A
field that does not exist, a wrong type or a value out of range is an error that names file and line.

`--set section.field=value` changes one field for one run: `--set train.batch_size=64`,
`--set data.path=photos`, `--set model.unet2d.block_out_channels=[64,128]`. The value is read as
TOML; what is not TOML is taken as text, so that words and paths need no quotes.

Every run folder and checkpoint holds the recipe as it was in force, with all defaults filled in.
The last section is no part of a recipe: how `ddpm sample` draws images.
)";

constexpr const char* kSamplerIntroduction = R"(
## sampler (flags of `ddpm sample`)
how images are drawn from a trained network; in C++ the fields of `SamplerOptions`. What the model's
scheduler file says (docs/formats.md) stands in the place of these defaults; with another
`--sampler` than its own, of that only clipping, spacing and offset.

)";

/// A row of a table.
std::string row(const std::string& name, const Field& field) {
  return "| `" + name + "` | " + cell(describe_type(field)) + " | `" + cell(default_text(field)) +
         "` | " + cell(field.help) + " |\n";
}

}  // namespace

std::string field_text(const Field& field) {
  const nlohmann::json value = field.get();
  if (value.is_string()) return value.get<std::string>();
  return value.is_number_float() ? number_text(value.get<double>()) : value.dump();
}

std::string fields_help(const std::vector<Field>& fields) {
  std::string text;
  for (const Field& field : fields) {
    if (field.type == FieldType::kSection) continue;
    text += "  " + field.key + " = " + default_text(field) + "\n      " + field.help + " (" +
            describe_type(field) + ")\n";
  }
  return text;
}

std::string sampler_flag(const std::string& key) {
  if (key == "kind") return "--sampler";
  std::string flag = "--" + key;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string config_markdown() {
  RunConfig config;
  std::string text = kIntroduction;
  for (const Field& field : list_fields(config)) {
    if (field.type == FieldType::kSection) {
      text += "\n## [" + field.key + "]\n" + field.help + "\n\n" +
              "| field | takes | default | meaning |\n|---|---|---|---|\n";
      continue;
    }
    text += row(field.key.substr(field.key.rfind('.') + 1), field);
  }
  SamplerOptions sampler;
  text += kSamplerIntroduction;
  text += "| flag | takes | default | meaning |\n|---|---|---|---|\n";
  for (const Field& field : list_fields(sampler)) text += row(sampler_flag(field.key), field);
  return text;
}

}  // namespace ddpm
