#pragma once

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ddpm/config/field_list.h"
#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// Of an upload: 8 MiB of files, and what stands around them.
inline constexpr int64_t kMaxFormBytes = (8 << 20) + (64 << 10);

/// A multipart/form-data body: files, and options as text.
struct Form {
  struct File {
    std::string name;
    std::string_view bytes;  ///< Lie in the request's body.
  };

  std::map<std::string, std::string> fields;  ///< By dotted key: "sampler.steps".
  std::vector<File> files;                    ///< In their order.

  /// Takes a field out; empty if the form lacks it.
  std::string take(const std::string& key);
};

/// Parts with a file name are files, the others fields.
///
/// @throws HttpError as parse_multipart does; 413: a field of more than 4 KiB.
Form parse_form(const HttpRequest& request);

/// Takes those of the form's fields that are among these out, as members of a JSON object: of
/// "sampler.steps" {"sampler": {"steps": ..}}. Lists are values with commas between them. A value
/// that is not what its field takes stays a text, which whoever reads the object refuses.
nlohmann::json take_members(Form& form, const std::vector<Field>& fields);

/// Sets the fields that the form has.
///
/// @throws HttpError 422 that names the field: a wrong type, a value out of range, or a key that is
///         none of them; the message has the nearest one.
void assign_form(const std::vector<Field>& fields, const Form& form);

/// A seed of 64 bits from text; none given: a drawn one of 32, which any language reads exactly.
///
/// @throws HttpError 422 if it is no such number.
uint64_t form_seed(const std::string& text);

/// @throws HttpError 422 about the field, always.
[[noreturn]] void refuse_form(const std::string& field, const std::string& message);

}  // namespace ddpm
