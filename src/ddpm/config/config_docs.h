#pragma once

#include <string>
#include <vector>

#include "ddpm/config/field_list.h"

namespace ddpm {

/// One line a field for --help: name, type and range, default, help.
std::string fields_help(const std::vector<Field>& fields);

template <typename Config>
std::string field_help(Config config) {
  return fields_help(list_fields(config));
}

/// A field's value as flags and the text chunks of pictures have it: text and words without quotes.
std::string field_text(const Field& field);

/// The flag of `ddpm sample` for a field of SamplerOptions: "--sampler" for `kind`, "--s-churn" for
/// `s_churn`.
std::string sampler_flag(const std::string& key);

/// The text of docs/config.md: a recipe's sections and the sampler's flags, a table each. To write
/// the file anew: `DDPM_UPDATE_DOCS=1 build/release/tests/config/config_test
/// --gtest_filter='ConfigDocsTest.*'`.
std::string config_markdown();

}  // namespace ddpm
